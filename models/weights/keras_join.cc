#include "models/weights/keras_join.h"

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>

#include "models/weights/keras_names.h"

namespace fovea::models {
namespace {

using weights::FileTensor;
using weights::WeightFile;

/// What stands for a class in the names of groups and of layers that were given none.
const char* class_of(LayerKind kind) {
  switch (kind) {
    case LayerKind::conv: return "conv2d";
    case LayerKind::depthwise: return "depthwise_conv2d";
    case LayerKind::norm: return "batch_normalization";
    case LayerKind::dense: return "dense";
    case LayerKind::rescale: return "normalization";
    case LayerKind::plain: break;
  }
  return "";
}

struct FileLayer {
  std::string parent;  ///< what stands before the last component: "layers", "layers/functional/layers"
  std::string kind;    ///< of the last component: "conv2d" of "conv2d_7"
  std::size_t number = 0;
  std::vector<std::size_t> tensors;
  bool matrix = false;  ///< has a kernel [in, out]
};

class Joiner {
 public:
  Joiner(const WeightFile& file, const LayerNames& names) : file_(file), names_(names) {
    join_.file = {file.path, file.format, {}, file.metadata};
    for (std::size_t i = 0; i < file.tensors.size(); ++i) {
      join_.originals.push_back(file.tensors[i].name);
      add(i);
    }
  }

  std::optional<KerasJoin> run() {
    if (by_class_ ? !join_classes() : !join_numbers()) return std::nullopt;
    name_classifier();
    if (renamed_.empty()) return std::nullopt;
    join_.file.tensors = file_.tensors;
    for (const auto& [i, name] : renamed_) join_.file.tensors[i].name = name;
    return std::move(join_);
  }

 private:
  /// "layers/conv2d_7/vars/0", or "conv2d_7/kernel".
  void add(std::size_t index) {
    const std::string& name = file_.tensors[index].name;
    const std::size_t vars = name.rfind("/vars/");
    by_class_ |= vars != std::string::npos;
    const std::string path = name.substr(0, vars != std::string::npos ? vars : name.rfind('/'));
    const auto [at, fresh] = by_path_.try_emplace(path, layers_.size());
    if (fresh) {
      const std::size_t bar = path.rfind('/');
      FileLayer layer;
      if (bar != std::string::npos) layer.parent = path.substr(0, bar);
      std::tie(layer.kind, layer.number) = weights::keras_counter(path.substr(bar + 1));
      layers_.push_back(std::move(layer));
    }
    FileLayer& layer = layers_[at->second];
    layer.tensors.push_back(index);
    layer.matrix |= file_.tensors[index].shape.rank() == 2;
  }

  void rename(const FileLayer& layer, const std::string& source) {
    const std::vector<std::string> variables = weights::keras_variables(layer.kind, layer.tensors.size());
    for (const std::size_t tensor : layer.tensors) {
      const std::string& name = file_.tensors[tensor].name;
      std::string last = name.substr(name.rfind('/') + 1);
      if (last.size() < 6 && last.find_first_not_of("0123456789") == std::string::npos) {
        const std::size_t number = last.empty() ? variables.size() : std::stoul(last);
        if (number >= variables.size()) continue;
        last = variables[number];
      }
      renamed_[tensor] = source + "/" + last;
    }
    for (const LayerName& n : names_.layers) classified_ |= n.source == source && n.module == "classifier";
  }

  std::vector<const FileLayer*> layers_of(const std::string& kind, const std::string* parent) const {
    std::vector<const FileLayer*> out;
    for (const FileLayer& l : layers_) {
      if (l.kind == kind && (!parent || l.parent == *parent)) out.push_back(&l);
    }
    std::stable_sort(out.begin(), out.end(),
                     [](const FileLayer* a, const FileLayer* b) { return a->number < b->number; });
    return out;
  }

  /// The n-th layer of a class is the n-th of that class in the names.
  bool join_classes() {
    std::map<std::string, std::size_t> sizes;
    for (const FileLayer& l : layers_) ++sizes[l.parent];
    const auto largest =
        std::max_element(sizes.begin(), sizes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    if (largest == sizes.end()) return false;
    std::map<LayerKind, std::vector<std::string>> wanted;
    for (const LayerName& n : names_.layers) {
      if (n.kind != LayerKind::plain) wanted[n.kind].push_back(n.source);
    }
    std::vector<const FileLayer*> convolutions = layers_of("conv2d", &largest->first);
    const std::vector<const FileLayer*> dense = layers_of("dense", &largest->first);
    // Some classifiers are 1×1 convolutions.
    if (dense.empty() && convolutions.size() == wanted[LayerKind::conv].size() + wanted[LayerKind::dense].size()) {
      std::vector<std::string>& conv = wanted[LayerKind::conv];
      conv.insert(conv.end(), wanted[LayerKind::dense].begin(), wanted[LayerKind::dense].end());
      wanted.erase(LayerKind::dense);
    }
    for (const auto& [kind, sources] : wanted) {
      const std::vector<const FileLayer*> found = layers_of(class_of(kind), &largest->first);
      if (kind == LayerKind::dense && (found.empty() || found.size() != sources.size())) continue;
      if (found.size() != sources.size()) return false;
      for (std::size_t i = 0; i < found.size(); ++i) rename(*found[i], sources[i]);
    }
    return true;
  }

  /// Layers without a name of their own in order of their numbers.
  bool join_numbers() {
    for (const LayerKind kind : {LayerKind::conv, LayerKind::depthwise, LayerKind::norm, LayerKind::rescale}) {
      const std::string base = class_of(kind);
      std::map<std::size_t, std::string> wanted;
      for (const LayerName& n : names_.layers) {
        if (n.kind != kind) continue;
        const auto [name, number] = weights::keras_counter(n.source);
        if (name == base) wanted.emplace(number, n.source);
      }
      if (wanted.empty()) continue;
      const std::vector<const FileLayer*> found = layers_of(base, nullptr);
      if (found.size() < wanted.size()) return false;
      std::size_t i = 0;
      for (const auto& [number, source] : wanted) rename(*found[i++], source);
    }
    return true;
  }

  void name_classifier() {
    std::string source;
    std::set<std::string> known;
    for (const LayerName& n : names_.layers) {
      if (n.module == "classifier") source = n.source;
      if (n.kind == LayerKind::dense) known.insert(n.source);
    }
    for (const auto& [module, name] : names_.alternatives) known.insert(name);
    const FileLayer* only = nullptr;
    for (const FileLayer& l : layers_) {
      if (!l.matrix || renamed_.contains(l.tensors.front())) continue;
      const std::string& name = file_.tensors[l.tensors.front()].name;
      if (name.find('/') == std::string::npos) continue;
      if (only || known.contains(name.substr(0, name.rfind('/')))) return;
      only = &l;
    }
    if (only && !classified_ && !source.empty()) rename(*only, source);
  }

  const WeightFile& file_;
  const LayerNames& names_;
  KerasJoin join_;
  std::vector<FileLayer> layers_;
  std::unordered_map<std::string, std::size_t> by_path_;
  std::map<std::size_t, std::string> renamed_;
  bool by_class_ = false;
  bool classified_ = false;
};

}  // namespace

std::optional<KerasJoin> keras_join(const WeightFile& file, const LayerNames& names) {
  return Joiner(file, names).run();
}

}  // namespace fovea::models
