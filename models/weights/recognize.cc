// Finds the architecture, layout, width and classes of a weight file: names are compared first, shapes second. Networks
// are built without memory (ParameterMode::meta), so a try costs well under a millisecond.
#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "core/error.h"
#include "layers/init.h"
#include "models/weights/recognize.h"

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
      // A name of another framework says its layout; a canonical name leaves it open.
      const bool open = !wanted_.layout && !implies_layout(wanted_.model);
      for (const Layout layout : resolved.architecture->layouts) {
        if (!open && layout != resolved.options.layout) continue;
        Options o = resolved.options;
        o.layout = layout;
        consider(*resolved.architecture, o, wanted_.width == 0 && o.width == resolved.architecture->width);
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
          consider(a, resolve(a.name, o).options, wanted_.width == 0);
        }
        if (found_ && found_->fits()) break;
      }
    }
    if (!found_) nothing_known();
    if (!found_->fits()) search_sizes();
    return std::move(*found_);
  }

 private:
  static bool implies_layout(const std::string& name) {
    return find_architecture(name) == nullptr;  // any alias
  }

  struct Names {
    LayerNames names;
    std::string prefix;
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

  void consider(const Architecture& a, const Options& o, bool any_width) {
    const std::optional<Names> names = names_in_file(a, o);
    if (!names) return;
    keep(match(a, o, *names));
    if (any_width && a.scalable) scalable_.push_back({&a, o});
  }

  void keep(Match m) {
    if (!found_ || m.misfits() < found_->misfits()) found_ = std::move(m);
  }

  Match match(const Architecture& a, Options o, const Names& in_file) const {
    const std::vector<TensorPair> pairs = tensor_pairs(in_file.names, *o.layout);
    std::unordered_map<std::string, const FileTensor*> by_name;
    for (const FileTensor& t : file_.tensors) {
      if (t.name.starts_with(in_file.prefix)) by_name.emplace(t.name.substr(in_file.prefix.size()), &t);
    }
    const auto tensor_of = [&](const TensorPair& pair) -> const FileTensor* {
      for (const std::string& name : pair.theirs) {
        if (const auto at = by_name.find(name); at != by_name.end()) return at->second;
      }
      return nullptr;
    };
    o.top = Top::none;
    for (const TensorPair& pair : pairs) {
      if (pair.ours != "classifier.weight") continue;
      if (const FileTensor* t = tensor_of(pair)) {
        o.top = Top::classifier;
        o.classes = classes_of(t->shape, *o.layout);
      } else if (*o.layout != Layout::keras && *o.layout != Layout::tfslim) {
        o.top = Top::pooled;
      }
    }
    if (o.classes < 1) o.classes = a.classes;
    Match m;
    m.architecture = &a;
    m.prefix = in_file.prefix;
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
    for (const FileTensor& t : file_.tensors) {
      if (used.contains(&t)) continue;
      const std::string name = t.name.starts_with(m.prefix) ? t.name.substr(m.prefix.size()) : t.name;
      if (!is_ignored(name, m.names)) m.unexpected.push_back(t.name);
    }
    m.options = std::move(o);
    return m;
  }

  /// Other multipliers, for networks whose first layer was found: those in use first, then every hundredth.
  void search_sizes() {
    const std::vector<std::pair<const Architecture*, Options>> candidates = scalable_;
    std::vector<double> widths = {1.0, 0.35, 0.5, 0.75, 1.4, 1.3, 0.25, 1.1, 1.2, 1.6, 1.8, 2.0};
    for (int i = 1; i <= 400; ++i) widths.push_back(i / 100.0);
    std::vector<double> depths = {1.0, 1.1, 1.2, 1.4, 1.8, 2.2, 2.6, 3.1};
    for (int i = 1; i <= 40; ++i) depths.push_back(i / 10.0);
    for (const auto& [a, start] : candidates) {
      Options o = start;
      // Names depend on the depth alone, shapes on the width.
      double depth = o.depth;
      std::size_t fewest = names_off(*a, o);
      for (const double d : depths) {
        if (fewest == 0) break;
        o.depth = d;
        const std::size_t off = names_off(*a, o);
        if (off < fewest) {
          fewest = off;
          depth = d;
        }
      }
      o.depth = depth;
      for (const double w : widths) {
        o.width = w;
        const std::optional<Names> names = names_in_file(*a, o);
        if (names) keep(match(*a, o, *names));
        if (found_->fits()) return;
      }
    }
  }

  std::size_t names_off(const Architecture& a, const Options& o) const {
    const std::optional<Names> names = names_in_file(a, o);
    if (!names) return ~std::size_t{0};
    const Match m = match(a, o, *names);
    return m.missing.size() + m.unexpected.size();
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

Match find_match(const WeightFile& file, const LoadOptions& options) { return Recognizer(file, options).best(); }

Recognition recognize(const WeightFile& file, const LoadOptions& options) {
  Match m = find_match(file, options);
  return {m.architecture->name, std::move(m.options),    std::move(m.prefix),
          std::move(m.missing), std::move(m.unexpected), std::move(m.misshapen)};
}

}  // namespace fovea::models
