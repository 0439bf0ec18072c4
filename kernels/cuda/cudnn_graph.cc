#include "kernels/cuda/cudnn_graph.h"

#include <algorithm>
#include <array>
#include <limits>

#include "core/error.h"
#include "kernels/cuda/runtime.h"

namespace fovea::kernels::cuda {
namespace {

using Direction = Conv2dProblem::Direction;

/// Thrown where cuDNN has no engine for what was asked: the next one is tried.
struct Unsupported {};

void check_supported(cudnnStatus_t status, const char* what) {
  // A GPU or driver for which an engine's kernels cannot be compiled has no such engine.
  if (CUDNN_STATUS_CATEGORY(status) == CUDNN_STATUS_NOT_SUPPORTED ||
      status == CUDNN_STATUS_INTERNAL_ERROR_COMPILATION_FAILED)
    throw Unsupported{};
  check(status, what);
}

/// Names by which graphs and calls agree on tensors.
enum Uid : std::int64_t { kX = 1, kW, kY, kBias, kConvolved, kBiased };

/// Extents and strides as cuDNN counts them: N (or output channels), C, H, W, laid out channels last.
struct Layout {
  std::array<std::int64_t, 4> extents;
  std::array<std::int64_t, 4> strides() const {
    const auto& [n, c, h, w] = extents;
    return {h * w * c, 1, w * c, c};
  }
};

cudnnDataType_t type_of(DType dtype) {
  return dtype == DType::bf16 ? CUDNN_DATA_BFLOAT16 : dtype == DType::f16 ? CUDNN_DATA_HALF : CUDNN_DATA_FLOAT;
}

/// A result that only the next operation reads is virtual: it never reaches memory, and is f32.
Descriptor tensor(std::int64_t uid, const Layout& layout, DType dtype, int alignment, bool is_virtual = false) {
  Descriptor d(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  const std::array<std::int64_t, 4> strides = layout.strides();
  d.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, type_of(dtype));
  d.set(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, layout.extents.data());
  d.set(CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, strides.data());
  d.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, uid);
  d.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, static_cast<std::int64_t>(alignment));
  if (is_virtual) d.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, true);
  d.finalize();
  return d;
}

Descriptor convolution(const ConvKey& key) {
  const auto pair = [](Size2 s) { return std::array<std::int64_t, 2>{s.h, s.w}; };
  const auto padding = pair(key.padding), stride = pair(key.stride), dilation = pair(key.dilation);
  Descriptor d(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  d.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT);
  d.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, CUDNN_CROSS_CORRELATION);
  d.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, std::int64_t{2});
  d.set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, padding.data());
  d.set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, padding.data());
  d.set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, stride.data());
  d.set(CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, dilation.data());
  d.finalize();
  return d;
}

/// What the three convolution operations are called, each in its own words.
struct ConvNames {
  cudnnBackendDescriptorType_t operation;
  cudnnBackendAttributeName_t convolution, x, w, y, alpha, beta;
};
ConvNames conv_names(Direction direction) {
  switch (direction) {
    case Direction::backward_data:
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA};
    case Direction::backward_weights:
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA};
    case Direction::forward: break;
  }
  return {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA};
}

Descriptor conv_operation(const ConvKey& key, const Descriptor& x, const Descriptor& w, const Descriptor& y) {
  const ConvNames names = conv_names(key.direction);
  const Descriptor how = convolution(key);
  Descriptor d(names.operation);
  d.set(names.convolution, how);
  d.set(names.x, x);
  d.set(names.w, w);
  d.set(names.y, y);
  d.set(names.alpha, CUDNN_TYPE_FLOAT, 1.0f);
  d.set(names.beta, CUDNN_TYPE_FLOAT, 0.0f);
  d.finalize();
  return d;
}

cudnnPointwiseMode_t pointwise_mode(Activation activation) {
  switch (activation) {
    case Activation::relu:
    case Activation::relu6:
    case Activation::leaky_relu: return CUDNN_POINTWISE_RELU_FWD;
    case Activation::sigmoid: return CUDNN_POINTWISE_SIGMOID_FWD;
    case Activation::silu: return CUDNN_POINTWISE_SWISH_FWD;
    case Activation::gelu: return CUDNN_POINTWISE_GELU_FWD;
    // tanh and gelu_tanh it approximates, to 1e-5 on an H100: they are a pass of our own, as what it has not.
    default: return CUDNN_POINTWISE_IDENTITY;
  }
}

/// y = from + bias, or y = act(from).
Descriptor pointwise_operation(const Descriptor& how, const Descriptor& from, const Descriptor* bias,
                               const Descriptor& y) {
  Descriptor d(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  d.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, how);
  d.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, from);
  if (bias) d.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, *bias);
  d.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
  d.finalize();
  return d;
}

Descriptor pointwise_how(cudnnPointwiseMode_t mode) {
  Descriptor d(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  d.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, mode);
  d.set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT);
  return d;
}

Descriptor activation_how(const ConvKey& key) {
  Descriptor d = pointwise_how(pointwise_mode(key.activation));
  if (pointwise_mode(key.activation) == CUDNN_POINTWISE_RELU_FWD) {
    // All clips are told: without an upper one the largest number is it. NaN stays NaN, as on the CPU.
    d.set(CUDNN_ATTR_POINTWISE_NAN_PROPAGATION, CUDNN_TYPE_NAN_PROPOGATION, CUDNN_PROPAGATE_NAN);
    d.set(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP, CUDNN_TYPE_DOUBLE, 0.0);
    d.set(CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP, CUDNN_TYPE_DOUBLE,
          key.activation == Activation::relu6 ? 6.0 : static_cast<double>(std::numeric_limits<float>::max()));
    d.set(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP_SLOPE, CUDNN_TYPE_DOUBLE,
          key.activation == Activation::leaky_relu ? key.alpha : 0.0);
  }
  if (key.activation == Activation::silu) d.set(CUDNN_ATTR_POINTWISE_SWISH_BETA, CUDNN_TYPE_DOUBLE, 1.0);
  d.finalize();
  return d;
}

Descriptor graph(const ConvKey& key, cudnnHandle_t handle) {
  const Layout y_layout{{key.n, key.co, key.ho, key.wo}};
  const Descriptor x = tensor(kX, {{key.n, key.ci, key.h, key.w}}, key.dtype, key.align_x),
                   w = tensor(kW, {{key.co, key.ci / key.groups, key.kh, key.kw}}, key.dtype, key.align_w),
                   y = tensor(kY, y_layout, key.dtype, key.align_y);
  std::vector<Descriptor> operations, between;
  between.reserve(2);
  const bool activated = key.activation != Activation::none;
  const Descriptor* last = &y;  // what the operation at hand writes
  if (key.bias || activated) last = &between.emplace_back(tensor(kConvolved, y_layout, DType::f32, 16, true));
  operations.push_back(conv_operation(key, x, w, *last));
  if (key.bias) {
    const Descriptor bias = tensor(kBias, {{1, key.co, 1, 1}}, DType::f32, key.align_bias);
    Descriptor add = pointwise_how(CUDNN_POINTWISE_ADD);
    add.finalize();
    const Descriptor* from = last;
    last = activated ? &between.emplace_back(tensor(kBiased, y_layout, DType::f32, 16, true)) : &y;
    operations.push_back(pointwise_operation(add, *from, &bias, *last));
  }
  if (activated) operations.push_back(pointwise_operation(activation_how(key), *last, nullptr, y));

  std::vector<cudnnBackendDescriptor_t> list;
  list.reserve(operations.size());
  for (const Descriptor& operation : operations) list.push_back(operation.get());
  Descriptor d(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  d.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, static_cast<std::int64_t>(list.size()),
        list.data());
  if (handle) d.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, handle);
  d.finalize();
  return d;
}

/// Engines with their settings, best first.
std::vector<Descriptor> configs(const Descriptor& graph, const PlanTarget& target, cudnnBackendHeurMode_t mode) {
  constexpr const char* kWhat = "cuDNN's engine heuristics";
  Descriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, mode);
  if (target.description)
    heuristics.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, target.description);
  heuristics.finalize();
  std::int64_t count = 0;
  check(cudnnBackendGetAttribute(heuristics.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0,
                                 &count, nullptr),
        kWhat);
  std::vector<Descriptor> results;
  std::vector<cudnnBackendDescriptor_t> raw;
  for (std::int64_t i = 0; i < count; ++i)
    raw.push_back(results.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR).get());
  if (count > 0) {
    check(cudnnBackendGetAttribute(heuristics.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                   count, &count, raw.data()),
          kWhat);
  }
  results.erase(results.begin() + std::min<std::ptrdiff_t>(count, std::ssize(results)), results.end());
  return results;
}

/// Whether the engine of this configuration keeps what the head of cudnn_graph.h promises.
bool allowed(const Descriptor& config, const ConvKey& key) {
  constexpr const char* kWhat = "cuDNN's notes on an engine";
  const Descriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  cudnnBackendDescriptor_t raw = engine.get();
  std::int64_t count = 0, index = 0;
  check(cudnnBackendGetAttribute(config.get(), CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count,
                                 &raw),
        kWhat);
  // Engine 0 is plain loops that can do everything, slower than a convolution and bias_activation one after the other.
  // cuDNN 9.19 has nothing else for relu6.
  check(cudnnBackendGetAttribute(raw, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &count, &index), kWhat);
  if (index == 0 && (key.bias || key.activation != Activation::none)) return false;
  std::array<cudnnBackendNumericalNote_t, CUDNN_NUMERICAL_NOTE_TYPE_COUNT> notes{};
  check(cudnnBackendGetAttribute(raw, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, std::ssize(notes),
                                 &count, notes.data()),
        kWhat);
  return std::none_of(notes.begin(), notes.begin() + std::min(count, std::ssize(notes)), [&](auto note) {
    switch (note) {
      case CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC:
      case CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS:
      case CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION:
      // Transforms of large tiles add and subtract numbers far larger than the result: some hundred times the error.
      case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13: return true;
      case CUDNN_NUMERICAL_NOTE_TENSOR_CORE: return key.dtype == DType::f32 && !key.tf32;
      default: return false;
    }
  });
}

ConvPlan plan(Descriptor config, const PlanTarget& target, bool bias) {
  Descriptor d(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  if (target.handle) d.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, target.handle);
  if (target.description)
    d.set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, target.description);
  d.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config);
  d.finalize();
  std::int64_t workspace = 0, count = 0;
  check(cudnnBackendGetAttribute(d.get(), CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &count,
                                 &workspace),
        "workspace of a cuDNN plan");
  return {std::move(config), std::move(d), static_cast<std::size_t>(workspace), bias};
}

struct Hash {
  std::size_t operator()(const ConvKey& k) const {
    std::uint64_t h = 0xcbf29ce484222325u;
    for (const std::int64_t v : {static_cast<std::int64_t>(k.direction),
                                 std::int64_t{k.device},
                                 std::int64_t{k.tf32},
                                 static_cast<std::int64_t>(k.dtype),
                                 k.n,
                                 k.h,
                                 k.w,
                                 k.ci,
                                 k.kh,
                                 k.kw,
                                 k.co,
                                 std::int64_t{k.groups},
                                 std::int64_t{k.padding.h},
                                 std::int64_t{k.padding.w},
                                 std::int64_t{k.stride.h},
                                 std::int64_t{k.stride.w},
                                 std::int64_t{k.dilation.h},
                                 std::int64_t{k.dilation.w},
                                 std::int64_t{k.bias},
                                 static_cast<std::int64_t>(k.activation),
                                 std::int64_t{k.align_x + 32 * k.align_w + 1024 * k.align_y}}) {
      h = (h ^ static_cast<std::uint64_t>(v)) * 0x100000001b3u;
    }
    return static_cast<std::size_t>(h ^ (h >> 29));
  }
};

struct Chosen {
  std::shared_ptr<const ConvPlan> plan;  // null: cuDNN has none
  bool measured = false;
};
LruCache<ConvKey, Chosen, Hash>& cache() {
  static auto* made = new LruCache<ConvKey, Chosen, Hash>(kPlanCacheLimit);  // the driver may be gone at the end
  return *made;
}

class Event {
 public:
  Event() { check(cudaEventCreate(&event_), "cudaEventCreate"); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void record(cudaStream_t queue) { check(cudaEventRecord(event_, queue), "cudaEventRecord"); }
  float ms_since(const Event& start) const {
    float ms = 0;
    check(cudaEventSynchronize(event_), "measuring a cuDNN plan");
    check(cudaEventElapsedTime(&ms, start.event_, event_), "cudaEventElapsedTime");
    return ms;
  }

 private:
  cudaEvent_t event_ = nullptr;
};

/// The least of a few runs, in milliseconds.
float measure(const ConvPlan& plan, const Cudnn& cudnn, const ConvMemory& memory, int device) {
  const Scratch workspace(plan.workspace(), device);
  const cudaStream_t queue = stream(device);
  Event start, end;
  float least = std::numeric_limits<float>::max();
  for (int i = 0; i < 4; ++i) {  // the first of them warms up
    start.record(queue);
    plan.run(cudnn, memory, workspace.data());
    end.record(queue);
    least = std::min(least, end.ms_since(start));
  }
  return least;
}

}  // namespace

Descriptor::Descriptor(cudnnBackendDescriptorType_t type) {
  cudnnBackendDescriptor_t made = nullptr;
  check(cudnnBackendCreateDescriptor(type, &made), "cudnnBackendCreateDescriptor");
  descriptor_.reset(made);
}
void Descriptor::Destroy::operator()(cudnnBackendDescriptor_t d) const { cudnnBackendDestroyDescriptor(d); }
void Descriptor::set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t count,
                     const void* values) {
  check_supported(cudnnBackendSetAttribute(get(), name, type, count, values), "cudnnBackendSetAttribute");
}
void Descriptor::finalize() { check_supported(cudnnBackendFinalize(get()), "cudnnBackendFinalize"); }

bool fusible(Activation activation) {
  return activation == Activation::none || pointwise_mode(activation) != CUDNN_POINTWISE_IDENTITY;
}

void ConvPlan::run(const Cudnn& cudnn, const ConvMemory& memory, void* workspace) const {
  const std::array<std::int64_t, 4> uids{kX, kW, kY, kBias};
  const std::array<const void*, 4> addresses{memory.x, memory.w, memory.y, memory.bias};
  const std::int64_t count = bias_ ? 4 : 3;
  Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, count, uids.data());
  pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, count, addresses.data());
  pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, workspace);
  pack.finalize();
  check(cudnnBackendExecute(cudnn.get(), plan_.get(), pack.get()), "cudnnBackendExecute");
}

std::vector<ConvPlan> make_conv_plans(const ConvKey& key, const PlanTarget& target, std::size_t most) {
  std::vector<ConvPlan> plans;
  try {
    const Descriptor problem = graph(key, target.handle);
    // The fallback list is long and slow, but complete.
    for (const cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
      if (!plans.empty()) break;
      try {
        for (Descriptor& config : configs(problem, target, mode)) {
          if (plans.size() == most) break;
          if (!allowed(config, key)) continue;
          try {
            ConvPlan made = plan(std::move(config), target, key.bias);
            if (made.workspace() <= kWorkspaceLimit) plans.push_back(std::move(made));
          } catch (const Unsupported&) {  // the heuristics do not look at everything
          }
        }
      } catch (const Unsupported&) {
      }
    }
  } catch (const Unsupported&) {
  }
  return plans;
}

std::shared_ptr<const ConvPlan> conv_plan(const ConvKey& key) {
  if (const auto known = cache().find(key)) return known->plan;
  Chosen chosen;
  {
    const Cudnn cudnn(key.device);
    std::vector<ConvPlan> plans = make_conv_plans(key, {cudnn.get()}, 1);
    if (!plans.empty()) chosen.plan = std::make_shared<const ConvPlan>(std::move(plans.front()));
  }
  cache().put(key, chosen, 1);
  return chosen.plan;
}

std::shared_ptr<const ConvPlan> measured_conv_plan(const ConvKey& key, const ConvMemory& memory) {
  constexpr std::size_t kCandidates = 8;
  if (const auto known = cache().find(key, [](const Chosen& c) { return c.measured || !c.plan; })) return known->plan;
  Chosen chosen{nullptr, true};
  {
    const Cudnn cudnn(key.device);
    float least = std::numeric_limits<float>::max();
    for (ConvPlan& candidate : make_conv_plans(key, {cudnn.get()}, kCandidates)) {
      const float ms = measure(candidate, cudnn, memory, key.device);
      if (chosen.plan && ms >= least) continue;
      least = ms;
      chosen.plan = std::make_shared<const ConvPlan>(std::move(candidate));
    }
  }
  cache().put(key, chosen, 1);
  return chosen.plan;
}

CacheStats plan_cache_stats() { return cache().stats(); }
void clear_plan_cache(int device) {
  cache().erase_if([&](const ConvKey& key) { return key.device == device; });
}

}  // namespace fovea::kernels::cuda
