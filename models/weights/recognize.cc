// Finds the architecture, layout, width and classes of a weight file: names are compared first, shapes second. Networks
// are built without memory (ParameterMode::meta), so a try costs well under a millisecond.
#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <unordered_set>

#include "core/error.h"
#include "layers/init.h"
#include "models/weights/keras_frame.h"
#include "models/weights/keras_join.h"
#include "models/weights/recognize.h"
#include "models/weights/variant.h"

namespace fovea::models {
namespace {

using weights::FileTensor;
using weights::WeightFile;

bool is_classifier(const std::string& ours) { return ours.starts_with("classifier."); }

/// What stands in front of `name` in the file's names, if it occurs there at a boundary.
std::optional<std::string> prefix_of(const WeightFile& file, const std::string& name) {
  std::optional<std::string> shortest;
  for (const FileTensor& t : file.tensors) {
    if (!t.name.ends_with(name)) continue;
    const std::string prefix = t.name.substr(0, t.name.size() - name.size());
    if (!prefix.empty() && prefix.back() != '.' && prefix.back() != '/') continue;
    if (!shortest || prefix.size() < shortest->size()) shortest = prefix;
  }
  return shortest;
}

int classes_of(const Shape& shape, Layout layout) {
  if (shape.rank() < 2) return 0;
  const bool keras_like = layout == Layout::keras || layout == Layout::tfslim;
  return static_cast<int>(std::min<std::int64_t>(keras_like ? shape.dim(-1) : shape[0], 1 << 24));
}

/// What the first convolution takes, if that is a number of channels that pictures can have.
template <class TensorOf>
std::optional<int> channels_of(const std::vector<TensorPair>& pairs, TensorOf&& tensor_of, Layout layout) {
  const auto first = std::find_if(pairs.begin(), pairs.end(),
                                  [](const TensorPair& p) { return p.is_weight && p.kind == LayerKind::conv; });
  const FileTensor* t = first == pairs.end() ? nullptr : tensor_of(*first);
  if (!t || t->shape.rank() != 4) return std::nullopt;
  const std::int64_t in = t->shape[layout == Layout::keras || layout == Layout::tfslim ? 2 : 1];
  return in == 1 || in == 3 ? std::optional(static_cast<int>(in)) : std::nullopt;
}

/// The names without their first component: a Hugging Face model saved without its classifier.
LayerNames without_root(LayerNames names) {
  for (LayerName& layer : names.layers) {
    const std::size_t dot = layer.source.find('.');
    if (dot != std::string::npos) layer.source.erase(0, dot + 1);
  }
  return names;
}

class Recognizer {
 public:
  Recognizer(const WeightFile& file, const LoadOptions& wanted) : file_(file), wanted_(wanted) {}

  Match best() {
    if (wanted_.model != "auto") {
      Options asked;
      asked.width = wanted_.width;
      asked.layout = wanted_.layout;
      asked.variant = wanted_.variant;
      const Resolved resolved = resolve(wanted_.model, asked);
      const Architecture& a = *resolved.architecture;
      // A name of another framework says its layout; a canonical name leaves it open.
      const bool alias = find_architecture(wanted_.model) == nullptr;
      for (const Layout layout : a.layouts) {
        if ((alias || wanted_.layout) && layout != resolved.options.layout) continue;
        Options o = alias ? resolved.options : asked;
        o.layout = layout;
        consider(a, o, wanted_.width == 0 && resolved.options.width == a.width, !alias);
      }
    } else {
      for (const Architecture& a : architectures()) {
        for (const Layout layout : a.layouts) {
          if (layout == Layout::fovea || (wanted_.layout && layout != *wanted_.layout)) continue;
          Options o;
          o.layout = layout;
          o.width = a.scalable ? wanted_.width : 0;
          o.variant = wanted_.variant;
          if (!a.scalable && wanted_.width > 0 && wanted_.width != a.width) continue;
          consider(a, o, wanted_.width == 0, true);
        }
        if (found_ && found_->fits()) break;
      }
    }
    if (!found_ || !found_->fits()) search_sizes();
    if (!found_) nothing_known();
    return std::move(*found_);
  }

 private:
  struct Names {
    LayerNames names;
    std::string prefix;
    std::shared_ptr<const KerasJoin> join = nullptr;  ///< the file under other names
  };

  /// The layer names that occur in the file, if its first layer does.
  std::optional<Names> names_in_file(const Architecture& a, const Options& o) const {
    if (!a.layer_names) return std::nullopt;
    const LayerNames names = a.layer_names(a, o, *o.layout);
    for (const bool drop_root : {false, true}) {
      if (drop_root && o.layout != Layout::huggingface) break;
      const LayerNames tried = drop_root ? without_root(names) : names;
      for (const TensorPair& pair : tensor_pairs(tried, *o.layout)) {
        if (!pair.is_weight || is_classifier(pair.ours)) continue;
        for (const std::string& name : pair.theirs) {
          if (auto prefix = prefix_of(file_, name)) return Names{tried, *prefix};
        }
        break;  // the first convolution decides
      }
    }
    return std::nullopt;
  }

  void consider(const Architecture& a, Options asked, bool any_width, bool by_file_name) {
    if (!takes_variant(a, *asked.layout, asked.variant)) return;
    Options o = resolve(a.name, asked).options;
    std::optional<Match> m = try_names(a, o);
    if (m && o.variant.empty()) {
      const WeightFile& named = m->join ? m->join->file : file_;
      asked.variant = told_variant(a, *o.layout, m->names, m->prefix, named, by_file_name);
      o = resolve(a.name, asked).options;
      if (!o.variant.empty()) m = try_names(a, o);
    }
    if (any_width && a.scalable && (m || numbered_by_class(o))) scalable_.push_back({&a, o});
    if (m) keep(std::move(*m));
  }

  /// The better of the matches by the file's own names and by Keras' numbering; nothing if none knows the first layer.
  std::optional<Match> try_names(const Architecture& a, const Options& o) const {
    std::optional<Match> best;
    if (const std::optional<Names> names = names_in_file(a, o)) best = match(a, o, *names);
    if (best && best->fits()) return best;
    if (const std::optional<Names> names = joined_names(a, o)) {
      Match m = match(a, o, *names);
      if (!best || m.misfits() < best->misfits()) best = std::move(m);
    }
    return best;
  }

  /// The names that Keras' numbering stands for, if it gives the first convolution.
  std::optional<Names> joined_names(const Architecture& a, const Options& o) const {
    if (o.layout != Layout::keras || !a.layer_names) return std::nullopt;
    LayerNames names = a.layer_names(a, o, Layout::keras);
    const auto first = std::find_if(names.layers.begin(), names.layers.end(),
                                    [](const LayerName& n) { return n.kind == LayerKind::conv; });
    std::optional<KerasJoin> join = keras_join(file_, names);
    if (!join || first == names.layers.end() || !join->file.find(first->source + "/kernel")) return std::nullopt;
    return Names{std::move(names), "", std::make_shared<const KerasJoin>(std::move(*join))};
  }

  /// Whether the file says of its layers no more than their classes, so that its first layer may be any network's.
  bool numbered_by_class(const Options& o) const {
    return o.layout == Layout::keras &&
           std::any_of(file_.tensors.begin(), file_.tensors.end(),
                       [](const FileTensor& t) { return t.name.find("/vars/") != std::string::npos; });
  }

  void keep(Match m) {
    if (!found_ || m.misfits() < found_->misfits()) found_ = std::move(m);
  }

  Match match(const Architecture& a, Options o, const Names& in_file) const {
    const WeightFile& file = in_file.join ? in_file.join->file : file_;
    const std::vector<TensorPair> pairs = tensor_pairs(in_file.names, *o.layout);
    std::unordered_map<std::string, const FileTensor*> by_name;
    for (const FileTensor& t : file.tensors) {
      if (t.name.starts_with(in_file.prefix)) by_name.emplace(t.name.substr(in_file.prefix.size()), &t);
    }
    const auto tensor_of = [&](const TensorPair& pair) -> const FileTensor* {
      for (const std::string& name : pair.theirs) {
        if (const auto at = by_name.find(name); at != by_name.end()) return at->second;
      }
      return nullptr;
    };
    // What stands behind the pooling says where the file's network ends.
    bool has_hidden = true;
    o.top = Top::none;
    for (const TensorPair& pair : pairs) {
      if (pair.ours == "hidden.weight") has_hidden = tensor_of(pair) != nullptr;
      if (pair.ours != "classifier.weight") continue;
      if (const FileTensor* t = tensor_of(pair)) {
        o.top = Top::classifier;
        o.classes = classes_of(t->shape, *o.layout);
      } else if (*o.layout != Layout::keras && *o.layout != Layout::tfslim && has_hidden) {
        o.top = Top::pooled;
      }
    }
    if (o.classes < 1) o.classes = a.classes;
    if (const std::optional<int> channels = channels_of(pairs, tensor_of, *o.layout)) o.channels = *channels;
    Match m;
    m.architecture = &a;
    m.prefix = in_file.prefix;
    m.join = in_file.join;
    m.names = in_file.names;
    const ParameterMode meta(ParameterMode::Kind::meta);
    const Model model = build(a, o);
    std::unordered_map<std::string, Shape> ours;
    for (const NamedTensor& t : model.network().named_tensors()) ours.emplace(t.name, t.tensor.shape());
    std::unordered_set<const FileTensor*> used;
    for (const TensorPair& pair : pairs) {
      const auto own = ours.find(pair.ours);
      if (own == ours.end()) continue;  // a convolution without bias
      const FileTensor* t = tensor_of(pair);
      if (!t) {
        m.missing.push_back(m.prefix + pair.theirs.front());
        continue;
      }
      used.insert(t);
      if (!fits(t->shape, own->second, pair, *o.layout)) {
        m.misshapen.push_back(str(t->name, " is ", t->shape, ", expected ", their_shape(own->second, pair, *o.layout)));
        continue;
      }
      m.tensors.push_back({pair, t});
    }
    for (std::size_t i = 0; i < file.tensors.size(); ++i) {
      const FileTensor& t = file.tensors[i];
      if (used.contains(&t)) continue;
      const std::string name = t.name.starts_with(m.prefix) ? t.name.substr(m.prefix.size()) : t.name;
      if (!is_ignored(name, m.names)) m.unexpected.push_back(in_file.join ? in_file.join->originals[i] : t.name);
    }
    m.options = std::move(o);
    return m;
  }

  /// Other multipliers, for networks whose first layer was found. Names depend on the depth alone, shapes on the width.
  void search_sizes() {
    const std::vector<std::pair<const Architecture*, Options>> candidates = scalable_;
    for (const auto& [a, start] : candidates) {
      Options o = start;
      if (!find_depth(*a, o)) continue;  // other numbers of layers
      for (const double width : likely_widths(*a, o)) {
        o.width = width;
        if (std::optional<Match> m = try_names(*a, o)) keep(std::move(*m));
        if (found_ && found_->fits()) return;
      }
    }
  }

  /// Sets the depth whose names come nearest to the file's: one in use, or a multiple of 0.1, which gives every number
  /// of repeats that any depth gives up to 4. False if none has its first layer.
  bool find_depth(const Architecture& a, Options& o) const {
    std::vector<double> depths = {o.depth};
    if (a.deepens) {
      depths.insert(depths.end(), {1.0, 1.1, 1.2, 1.4, 1.8, 2.2, 2.6, 3.1});
      for (int i = 1; i <= 40; ++i) depths.push_back(i / 10.0);
    }
    std::size_t fewest = ~std::size_t{0};
    double best = o.depth;
    for (const double depth : depths) {
      o.depth = depth;
      const std::size_t off = names_off(a, o);
      if (off < fewest) {
        fewest = off;
        best = depth;
      }
      if (fewest == 0) break;
    }
    o.depth = best;
    return fewest != ~std::size_t{0};
  }

  std::optional<Names> any_names(const Architecture& a, const Options& o) const {
    std::optional<Names> names = joined_names(a, o);
    return names ? names : names_in_file(a, o);
  }

  /// How many weights of the network the file has not, and how many of its tensors the network has not; no network is
  /// built for it.
  std::size_t names_off(const Architecture& a, const Options& o) const {
    const std::optional<Names> names = any_names(a, o);
    if (!names) return ~std::size_t{0};
    const WeightFile& file = names->join ? names->join->file : file_;
    std::unordered_set<std::string_view> open;
    for (const FileTensor& t : file.tensors) {
      if (t.name.starts_with(names->prefix)) open.insert(std::string_view(t.name).substr(names->prefix.size()));
    }
    std::size_t off = 0;
    for (const TensorPair& pair : tensor_pairs(names->names, *o.layout)) {
      bool found = false;
      for (const std::string& name : pair.theirs) found |= open.erase(name) > 0;
      off += pair.is_weight && !found;
    }
    for (const std::string_view name : open) off += !is_ignored(std::string(name), names->names);
    return off;
  }

  /// Elements of the network's tensors less those of the file's tensors of the same names; the classifier apart.
  std::int64_t excess(const Architecture& a, const Options& o, const Names& names) const {
    const WeightFile& file = names.join ? names.join->file : file_;
    std::unordered_map<std::string_view, std::int64_t> theirs;
    for (const FileTensor& t : file.tensors) {
      if (t.name.starts_with(names.prefix))
        theirs.emplace(std::string_view(t.name).substr(names.prefix.size()), t.shape.numel());
    }
    const ParameterMode meta(ParameterMode::Kind::meta);
    const Model model = build(a, o);
    std::unordered_map<std::string, std::int64_t> ours;
    for (const NamedTensor& t : model.network().named_tensors()) ours.emplace(t.name, t.tensor.numel());
    std::int64_t sum = 0;
    for (const TensorPair& pair : tensor_pairs(names.names, *o.layout)) {
      const auto own = ours.find(pair.ours);
      if (own == ours.end() || is_classifier(pair.ours)) continue;
      for (const std::string& name : pair.theirs) {
        const auto at = theirs.find(name);
        if (at == theirs.end()) continue;
        sum += own->second - at->second;
        break;
      }
    }
    return sum;
  }

  /// The number of elements grows with the width: bisection finds the widths that give the file's. Of those the ones in
  /// use come first, then hundredths.
  std::vector<double> likely_widths(const Architecture& a, Options o) const {
    const std::optional<Names> names = any_names(a, o);
    if (!names) return {};
    double low = 0.01, high = 32, near = 1;
    for (int i = 0; i < 40 && high / low > 1 + 1e-6; ++i) {
      near = o.width = std::sqrt(low * high);
      const std::int64_t over = excess(a, o, *names);
      if (over == 0) break;
      (over > 0 ? high : low) = o.width;
    }
    std::vector<double> widths = {1.0, 0.35, 0.5, 0.75, 1.4, 1.3, 0.25, 1.1, 1.2, 1.6, 1.8, 2.0};
    const int hundredths = static_cast<int>(std::lround(near * 100));
    for (const int step : {0, 1, -1, 2, -2}) widths.push_back((hundredths + step) / 100.0);
    std::erase_if(widths, [&](double w) { return std::abs(w - near) > 0.1 * near + 0.005 || w < 0.01; });
    widths.push_back(std::round(near * 1000) / 1000);
    widths.push_back(near);
    return widths;
  }

  [[noreturn]] void nothing_known() const {
    std::string first;
    for (std::size_t i = 0; i < file_.tensors.size() && i < 4; ++i)
      first += str(i ? ", " : "", file_.tensors[i].name, " ", file_.tensors[i].shape);
    const std::string asked = wanted_.model == "auto" ? "any network of the zoo" : wanted_.model;
    throw Error(
        ErrorKind::format, file_.path,
        str("its tensors are not those of ", asked,
            wanted_.layout ? str(" in the layout ", to_string(*wanted_.layout)) : "", ": ", file_.tensors.size(),
            " tensors, the first are ", first),
        "`fovea models` lists the networks, `fovea inspect` what the file holds; --model and --layout override");
  }

  const WeightFile& file_;
  const LoadOptions& wanted_;
  std::optional<Match> found_;
  std::vector<std::pair<const Architecture*, Options>> scalable_;
};

}  // namespace

Match find_match(const WeightFile& file, const LoadOptions& options) {
  const bool other = options.layout && *options.layout != Layout::keras;
  const std::shared_ptr<const KerasFrame> frame = other ? nullptr : keras_frame(file, true);
  if (!frame) return Recognizer(file, options).best();
  const auto best = [&](std::shared_ptr<const KerasFrame> of) {
    Match m = Recognizer(of->network, options).best();
    m.frame = std::move(of);
    return m;
  };
  Match m = best(frame);
  const bool normalized = std::any_of(frame->graph.before.begin(), frame->graph.before.end(), [&](std::size_t i) {
    return frame->graph.nodes[i].class_name == "Normalization";
  });
  if (!m.fits() && normalized) {  // by the user, then
    Match again = best(keras_frame(file, false));
    if (again.misfits() < m.misfits()) m = std::move(again);
  }
  if (m.frame->classes > 0) {
    m.options.top = Top::classifier;
    m.options.classes = m.frame->classes;
  } else if (m.options.top == Top::none && !m.frame->graph.behind.empty()) {
    m.options.top = Top::pooled;
  }
  return m;
}

Recognition recognize(const WeightFile& file, const LoadOptions& options) {
  Match m = find_match(file, options);
  if (m.frame && m.frame->graph.height > 0) m.options.image_size = m.frame->graph.height;
  return {m.architecture->name, std::move(m.options),    std::move(m.prefix),
          std::move(m.missing), std::move(m.unexpected), std::move(m.misshapen)};
}

}  // namespace fovea::models
