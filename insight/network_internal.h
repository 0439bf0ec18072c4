// Internal: a model's ops, cut in two at a layer, so that a gradient needs only the part behind it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/graph/op_list.h"
#include "infer/compile/compile.h"
#include "models/model.h"

namespace fovea::insight {

/// Where a CAM looks: the ops up to a value and those behind it.
struct Cut {
  std::string layer;
  OpList lower;  ///< picture → the layer's result, and whatever else the upper part reads
  OpList upper;  ///< those → logits
  /// Compiled, where the upper part reads nothing but the layer's result.
  std::function<Tensor(const Tensor&)> fast_lower;

  /// The layer's result first.
  std::vector<Tensor> run_lower(const Tensor& x) const;
  /// Logits of those.
  Tensor run_upper(const std::vector<Tensor>& in) const;
};

class Network {
 public:
  explicit Network(const Model& model);

  const Model& model() const { return model_; }
  int classes() const { return classes_; }
  /// [N, classes].
  Tensor logits(const Tensor& x);
  /// Empty: the default layer. Error{usage} for a name that is not there.
  const Cut& cut(const std::string& layer);
  std::vector<std::string> layers() const;
  std::string default_layer() const;
  /// d(logit of `target`, summed over the batch)/d(inputs[0]), and the logits.
  struct Gradient {
    Tensor gradient, logits;
  };
  static Gradient gradient(const OpList& list, const std::vector<Tensor>& inputs, int target);
  /// The same for the whole network, by the picture; computed in x's type, f32 or f64.
  Gradient input_gradient(const Tensor& x, int target);

 private:
  int value_of(const std::string& layer) const;
  bool is_map(int value) const;
  std::string name_of(int value) const;

  Model model_;
  OpList list_;         // without fused activations; parameters need no gradients
  OpList double_list_;  // the same in f64, once it was asked for
  int classes_ = 0;
  std::function<Tensor(const Tensor&)> forward_;  // compiled when it is first asked for
  std::map<int, std::unique_ptr<Cut>> cuts_;
};

}  // namespace fovea::insight
