// Model: a network together with everything inference must repeat: its preprocessing, class names, and the name and
// options that built it. Copies share the network.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/graph/op_list.h"
#include "image/preprocess.h"
#include "layers/module.h"
#include "models/options.h"

namespace fovea {

class FOVEA_API Model {
 public:
  Model() = default;
  explicit Model(ModulePtr network) : network_(std::move(network)) {}
  /// So that a network can be passed where a model is expected: save(Sequential(…), "x.fovea").
  template <class M>
  requires std::is_base_of_v<Module, std::remove_cvref_t<M>> Model(M&& network)
      : network_(std::make_shared<std::remove_cvref_t<M>>(std::forward<M>(network))) {}

  bool defined() const { return network_ != nullptr; }
  Module& network() const;
  const ModulePtr& network_ptr() const { return network_; }
  /// Logits [N, classes] of images f32 [N,H,W,C], normalised as `preprocessing` says. In training, on a tape,
  /// convolutions and batch norms run as one (layers/fused/fused_pass.h).
  Tensor operator()(const Tensor& x) const;

  /// Moves the network to a device (gpu(), kCpu), before an optimizer takes its parameters. Inputs must be there too.
  void to(Device device) { network().to(device); }
  /// Where the parameters are.
  Device device() const;

  int freeze(std::string_view pattern = "*") { return network().freeze(pattern); }
  int unfreeze(std::string_view pattern = "*") { return network().unfreeze(pattern); }
  void freeze_until(std::string_view child) { network().freeze_until(child); }

  std::string architecture;  ///< canonical zoo name, or empty for a network of one's own
  models::Options options;   ///< what the zoo was given, resolved: building again gives the same network
  image::Preprocessing preprocessing;
  std::vector<std::string> class_names;

  /// Captures the network as a list of ops for one batch of its input size.
  OpList capture(std::int64_t batch = 1, DType dtype = DType::f32) const;

 private:
  ModulePtr network_;
};

/// Writes a model file: safetensors with the op list, architecture, preprocessing and class names as metadata. Atomic:
/// a failed or interrupted write leaves an existing file as it was. Errors{file} name the path.
FOVEA_API void save(const Model& model, const std::string& path);
/// Reads a model file; the network is rebuilt from its op list and can be run, trained further and saved again.
FOVEA_API Model load_model(const std::string& path);

}  // namespace fovea
