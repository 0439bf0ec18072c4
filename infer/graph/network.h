// A network from a file, ready to answer: the small runtime, which has no ops, no gradients and no training.
//
//   infer::Network network = infer::load("birds.fovea");
//   Tensor logits = network(image::read_image("robin.jpg"));
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "image/preprocess.h"
#include "infer/runtime/plan.h"

namespace fovea::infer {

struct NetworkFile;

/// Plans are made when a shape first comes and kept for a handful of shapes; they share the weights. One thread at a
/// time; copies of a plan may run beside it.
class FOVEA_API Network {
 public:
  Network();
  ~Network();
  Network(Network&&) noexcept;
  Network& operator=(Network&&) noexcept;
  /// From a graph, which compilation and files give. Internal.
  Network(NetworkFile&& from, DType dtype);

  bool defined() const { return impl_ != nullptr; }
  /// Logits f32 [N, classes] of pictures f32 [N,H,W,C], normalised as preprocessing() says (where it says `mirrored`,
  /// of them and their mirror images, averaged); any batch and size that the network takes, Error{shape} otherwise.
  Tensor operator()(const Tensor& x);
  /// Logits [1, classes] of one picture, preprocessed.
  Tensor operator()(const image::Image& picture);
  /// The plan for this shape, which answers for one view; stays where it is until eight other shapes have come.
  Plan& plan(const Shape& input);

  /// NHWC of one picture: what preprocessing() gives.
  Shape input_shape() const;
  const image::Preprocessing& preprocessing() const;
  const std::vector<std::string>& class_names() const;  ///< may be empty
  const std::string& architecture() const;              ///< canonical zoo name, or empty
  /// i8 where layers multiply integers, otherwise what the layers compute in on this CPU: f32 or bf16.
  DType dtype() const;

 private:
  struct Impl;
  /// Error{usage} where nothing was loaded.
  Impl& impl() const;
  std::unique_ptr<Impl> impl_;
};

/// Reads a model file, or a compiled network that `fovea compile` or `fovea quantize` wrote. The file is only needed
/// during the call: weights are packed for this CPU, and its mapping is given back. `dtype`: f32, or bf16 as in
/// infer::compile; layers that a file holds in int8 compute in int8 either way.
/// Error{file}; Error{format} for a damaged file; Error{usage} for networks that inference does not run.
FOVEA_API Network load(const std::string& path, DType dtype = DType::f32);

/// Whether a file is there that holds a compiled network; a look at its header.
FOVEA_API bool is_compiled(const std::string& path);

}  // namespace fovea::infer
