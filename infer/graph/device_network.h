// A network compiled for a GPU.
//
//   model.to(gpu());
//   infer::DeviceNetwork network = infer::compile_for_device(model);
//   Tensor logits = network(x);
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "image/preprocess.h"

namespace fovea::infer {

struct NetworkFile;

/// Batch norms are folded into weights, additions and activations follow in place. The work of an input shape is
/// recorded when the shape comes a second time, as a CUDA graph (kernels/device_graph.h) that one call starts; a
/// handful of shapes are kept. f32 (AllowTf32 counts when a shape's work is recorded). One thread at a time.
class FOVEA_API DeviceNetwork {
 public:
  DeviceNetwork();
  ~DeviceNetwork();
  DeviceNetwork(DeviceNetwork&&) noexcept;
  DeviceNetwork& operator=(DeviceNetwork&&) noexcept;
  /// From a graph, which compilation and files give. Layers in int8 compute in f32. Internal.
  DeviceNetwork(NetworkFile&& from, Device device);

  bool defined() const { return impl_ != nullptr; }
  /// Logits f32 [N, classes] of pictures f32 [N,H,W,C], normalised as preprocessing() says; where x is: on this GPU, or
  /// on the CPU, to and from which they are copied. Error{shape}, Error{device} otherwise.
  Tensor operator()(const Tensor& x);
  /// What a shape's recorded work holds in GPU memory beside weights and results; 0 before it is recorded.
  std::size_t planned_bytes(const Shape& input) const;

  Device device() const;
  const image::Preprocessing& preprocessing() const;
  const std::vector<std::string>& class_names() const;  ///< may be empty
  const std::string& architecture() const;              ///< canonical zoo name, or empty

 private:
  struct Impl;
  /// Error{usage} where nothing was loaded.
  Impl& impl() const;
  std::unique_ptr<Impl> impl_;
};

/// Reads a model file or a compiled network, as infer::load() does, for a GPU.
FOVEA_API DeviceNetwork load_on(Device device, const std::string& path);

}  // namespace fovea::infer
