// Weights as Keras 1 and 2 lay them out, which Keras 3 still writes as "legacy" HDF5: a group per layer of the outer
// model, and lists of names, which say more than the groups do.
#include <map>
#include <set>

#include "core/error.h"
#include "models/weights/keras_h5_internal.h"
#include "models/weights/keras_names.h"

namespace fovea::weights::keras {
namespace {

using hdf5::Attribute;
using hdf5::File;

/// A list of names, which Keras cuts into NAME0, NAME1, … where it takes more than 64 KB. Nothing if there is none.
std::optional<std::vector<std::string>> names(File& file, std::uint64_t group, const std::string& name) {
  const std::vector<Attribute> attributes = file.attributes(group);
  if (const Attribute* whole = find(attributes, name)) return file.strings(*whole);
  std::map<std::string_view, const Attribute*> by_name;
  for (const Attribute& attribute : attributes) by_name.emplace(attribute.name, &attribute);
  std::vector<std::string> result;
  for (std::size_t i = 0;; ++i) {
    const auto part = by_name.find(str(name, i));
    if (part == by_name.end()) return i == 0 ? std::nullopt : std::optional(result);
    for (std::string& one : file.strings(*part->second)) result.push_back(std::move(one));
  }
}

std::string join(const std::vector<std::string>& parts, std::size_t begin = 0) {
  std::string result;
  for (std::size_t i = begin; i < parts.size(); ++i) result += (i == begin ? "" : "/") + parts[i];
  return result;
}

/// "Conv1/kernel:0" -> {"Conv1", "kernel"}
std::vector<std::string> split(std::string_view path) {
  const std::size_t colon = path.rfind(':');
  if (colon != path.npos && path.find_first_not_of("0123456789", colon + 1) == path.npos) path = path.substr(0, colon);
  std::vector<std::string> parts;
  while (!path.empty()) {
    const std::size_t bar = std::min(path.find('/'), path.size());
    if (bar > 0) parts.emplace_back(path.substr(0, bar));
    path.remove_prefix(std::min(bar + 1, path.size()));
  }
  return parts;
}

/// TensorFlow appends a number to a name scope that it has seen before.
bool is_scope_of(const std::string& scope, const std::string& layer) {
  return scope == layer || keras_counter(scope).first == layer;
}

class Legacy {
 public:
  Legacy(File& file, const std::optional<std::string>& config) : file_(file), config_(config) {}

  std::vector<Named> read(std::uint64_t group) {
    const std::optional<std::vector<std::string>> layers = names(file_, group, "layer_names");
    if (!layers) damaged("its group of weights has no list of layers (layer_names)");
    for (const std::string& layer : *layers) {
      const std::optional<std::uint64_t> at = file_.find(group, layer);
      if (!at) damaged(str("layer '", layer, "' is listed, but not there"));
      add(layer, *at);
    }
    return std::move(result_);
  }

 private:
  [[noreturn]] void damaged(const std::string& what) const {
    throw Error(ErrorKind::format, file_.where(), str("not a complete Keras file: ", what));
  }

  void add(const std::string& layer, std::uint64_t group) {
    const std::optional<std::vector<std::string>> weights = names(file_, group, "weight_names");
    if (!weights) return;
    for (const std::string& weight : *weights) {
      const std::optional<std::uint64_t> at = file_.find(group, weight);
      if (!at) damaged(str("weight '", weight, "' of layer '", layer, "' is listed, but not there"));
      const std::vector<std::string> parts = split(weight);
      if (parts.empty()) damaged(str("a weight of layer '", layer, "' has no name"));
      const std::string full = layer + "/" + join(parts);
      const std::string& variable = parts.back();
      if (parts.size() == 1 || is_scope_of(parts[parts.size() - 2], layer)) {
        result_.push_back({layer + "/" + variable, full, full, *at, {}});
      } else if (is_model(layer)) {
        const std::string& owner = parts[parts.size() - 2];
        const std::size_t own = parts[0] == layer ? 1 : 0;  // Keras 3 starts with the model itself, Keras 2 does not
        result_.push_back({owner + "/" + variable, layer + "/" + join(parts, own), full, *at, layer});
      } else {
        // A layer of parts (an LSTM's cell), or a name scope that has nothing to do with the layer's name.
        const bool own = parts[0] == layer;
        result_.push_back({layer + "/" + (own ? join(parts, 1) : variable), full, full, *at, {}});
      }
    }
  }

  /// Whether a group is a model within the model, whose weights belong to layers of their own. Without a config it is
  /// taken for one: weights of plain layers are named after them.
  bool is_model(const std::string& layer) {
    if (!config_) return true;
    if (!known_) {
      known_.emplace();
      for (const KerasLayer& one : keras_layers(*config_, file_.where())) {
        if (one.is_model()) known_->insert(one.name);
      }
    }
    return known_->contains(layer);
  }

  File& file_;
  const std::optional<std::string>& config_;
  std::optional<std::set<std::string>> known_;
  std::vector<Named> result_;
};

}  // namespace

std::vector<Named> legacy_tensors(File& file, std::uint64_t group, const std::optional<std::string>& config) {
  return Legacy(file, config).read(group);
}

}  // namespace fovea::weights::keras
