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
/// handful of shapes are kept. In f32 (AllowTf32 counts when a shape's work is recorded), or in bf16 or f16 on the
/// tensor cores: weights and maps are halves, biases, sums and the logits f32. One thread at a time.
class FOVEA_API DeviceNetwork {
 public:
  DeviceNetwork();
  ~DeviceNetwork();
  DeviceNetwork(DeviceNetwork&&) noexcept;
  DeviceNetwork& operator=(DeviceNetwork&&) noexcept;
  /// From a graph, which compilation and files give. Layers that a file holds in int8 compute in `dtype` too. Internal.
  DeviceNetwork(NetworkFile&& from, Device device, DType dtype);

  bool defined() const { return impl_ != nullptr; }
  /// Logits f32 [N, classes] of pictures f32 [N,H,W,C], normalised as preprocessing() says; where x is: on this GPU, or
  /// on the CPU, to and from which they are copied. Error{shape}, Error{device} otherwise.
  Tensor operator()(const Tensor& x);
  /// What a shape's recorded work holds in GPU memory beside weights and results; 0 before it is recorded.
  std::size_t planned_bytes(const Shape& input) const;

  Device device() const;
  DType dtype() const;  ///< f32, bf16 or f16
  const image::Preprocessing& preprocessing() const;
  const std::vector<std::string>& class_names() const;  ///< may be empty
  const std::string& architecture() const;              ///< canonical zoo name, or empty

 private:
  struct Impl;
  /// Error{usage} where nothing was loaded.
  Impl& impl() const;
  Tensor one_view(const Tensor& x);
  std::unique_ptr<Impl> impl_;
};

/// Reads a model file or a compiled network, as infer::load() does, for a GPU. Error{device} where it does not compute
/// in this type.
FOVEA_API DeviceNetwork load_on(Device device, const std::string& path, DType dtype = DType::f32);

}  // namespace fovea::infer
