// Convolutions as graphs of cuDNN 9 (its "backend" API; the older calls are deprecated): one operation, or a
// convolution with bias and activation, planned by cuDNN's heuristics among the engines that this project allows:
//   - the same bits every time: no engine that calls itself nondeterministic, and none chosen by timing unless asked
//   for;
//   - f32 is f32: no tensor cores (TF32) unless allowed, no rounding of operands or sums to 16 bits at all;
//   - bf16 and f16 may use tensor cores, but add in f32 and round once, at the end;
//   - at most kWorkspaceLimit bytes of workspace.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/conv2d.h"
#include "kernels/cuda/library_handles.h"
#include "kernels/cuda/lru_cache.h"

namespace fovea::kernels::cuda {

/// One convolution as cuDNN sees it, with all that the choice of a plan depends on: the key of the plan cache. Images
/// are NHWC, weights OHWI [co, kh, kw, ci / groups]; padding is the same on both sides of an axis.
struct ConvKey {
  Conv2dProblem::Direction direction = Conv2dProblem::Direction::forward;
  int device = 0;
  DType dtype = DType::f32;  ///< of images and weights: f32, bf16 or f16. A bias is f32
  bool tf32 = false;         ///< f32 on tensor cores
  std::int64_t n = 1, h = 1, w = 1, ci = 1, kh = 1, kw = 1, co = 1, ho = 1, wo = 1;
  int groups = 1;
  Size2 padding{0, 0}, stride{1, 1}, dilation{1, 1};
  // Fused behind a forward convolution: y = act(conv + bias).
  bool bias = false;
  Activation activation = Activation::none;
  double alpha = 0;  ///< slope of leaky_relu, 0 otherwise
  /// Bytes that the addresses are multiples of, an element to 16.
  int align_x = 16, align_w = 16, align_y = 16, align_bias = 16;

  friend bool operator==(const ConvKey&, const ConvKey&) = default;
};

/// Whether cuDNN can express this activation in a graph.
bool fusible(Activation activation);

/// The memory of one call: of the three, the one that the direction writes is written.
struct ConvMemory {
  const void *x = nullptr, *w = nullptr, *y = nullptr, *bias = nullptr;
};

/// A descriptor of cuDNN's, destroyed with this object.
class Descriptor {
 public:
  explicit Descriptor(cudnnBackendDescriptorType_t type);
  cudnnBackendDescriptor_t get() const { return descriptor_.get(); }

  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t count, const void* values);
  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, auto value) {
    set(name, type, 1, &value);
  }
  void set(cudnnBackendAttributeName_t name, const Descriptor& other) {
    set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, other.get());
  }
  /// Error{device}, but for CUDNN_STATUS_NOT_SUPPORTED_…: see Unsupported in cudnn_graph.cc.
  void finalize();

 private:
  struct Destroy {
    void operator()(cudnnBackendDescriptor_t d) const;
  };
  std::unique_ptr<void, Destroy> descriptor_;
};

/// What runs a convolution on one GPU.
class ConvPlan {
 public:
  ConvPlan(Descriptor config, Descriptor plan, std::size_t workspace, bool bias)
      : config_(std::move(config)), plan_(std::move(plan)), workspace_(workspace), bias_(bias) {}
  std::size_t workspace() const { return workspace_; }
  /// Queues the work. `workspace` holds workspace() bytes.
  void run(const Cudnn& cudnn, const ConvMemory& memory, void* workspace) const;

 private:
  Descriptor config_, plan_;
  std::size_t workspace_;
  bool bias_;
};

/// More makes convolutions of large pictures a few percent faster at best, and would take what batches need.
inline constexpr std::size_t kWorkspaceLimit = std::size_t{256} << 20;

/// For whom plans are made: a GPU that is there, by its handle, or one that is only described
/// (CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR), so that what cuDNN would do can be seen without it.
struct PlanTarget {
  cudnnHandle_t handle = nullptr;
  cudnnBackendDescriptor_t description = nullptr;
};
/// Up to `most` plans, best first by cuDNN's own estimate. None where cuDNN supports nothing that is allowed.
std::vector<ConvPlan> make_conv_plans(const ConvKey& key, const PlanTarget& target, std::size_t most);

/// The plan for a problem, made at the first call and kept; nullptr where there is none.
std::shared_ptr<const ConvPlan> conv_plan(const ConvKey& key);
/// The fastest of the first few plans, measured on this memory at the first call: what is written is overwritten.
std::shared_ptr<const ConvPlan> measured_conv_plan(const ConvKey& key, const ConvMemory& memory);

/// Networks have some hundred different convolutions, times three directions, times a few batch sizes; a plan takes
/// some kilobytes of host memory.
inline constexpr std::size_t kPlanCacheLimit = 1024;
CacheStats plan_cache_stats();
/// Forgets the plans of a GPU.
void clear_plan_cache(int device);

}  // namespace fovea::kernels::cuda
