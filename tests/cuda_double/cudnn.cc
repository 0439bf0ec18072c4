// The double of cuDNN's graph API: handles, and descriptors that know which attributes they have, of what type and
// number, which of them are required, and that nothing is set after finalization or used before it.
#include <atomic>
#include <cstdio>
#include <mutex>
#include <set>
#include <thread>

#include "cudnn_descriptors.h"

using namespace fovea::cuda_double;

struct cudnnContext : LibraryHandle {};

namespace {

struct Live {
  std::mutex mutex;
  std::map<cudnnBackendDescriptor_t, std::shared_ptr<Desc>> descriptors;
  std::atomic<std::int64_t> heuristics_asked = 0;
};
Live& live() {
  static auto* made = new Live;
  return *made;
}

std::shared_ptr<Desc> find(cudnnBackendDescriptor_t d, const char* call) {
  const std::lock_guard lock(live().mutex);
  const auto found = live().descriptors.find(d);
  if (found == live().descriptors.end()) broken(std::string(call) + ": the descriptor was destroyed or never created");
  return found->second;
}

struct Attribute {
  cudnnBackendDescriptorType_t kind;
  cudnnBackendAttributeName_t name;
  cudnnBackendAttributeType_t type;
  std::int64_t least, most;
  bool required = true;
  cudnnBackendDescriptorType_t child = CUDNN_BACKEND_POINTWISE_DESCRIPTOR;  // where the type is a descriptor
};

constexpr auto kTensor = CUDNN_BACKEND_TENSOR_DESCRIPTOR;
constexpr auto kConv = CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR;
constexpr auto kForward = CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR;
constexpr auto kBackwardData = CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR;
constexpr auto kBackwardFilter = CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR;
constexpr auto kPointwise = CUDNN_BACKEND_POINTWISE_DESCRIPTOR;
constexpr auto kPointwiseOp = CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR;
constexpr auto kGraph = CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR;
constexpr auto kHeuristics = CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR;
constexpr auto kConfig = CUDNN_BACKEND_ENGINECFG_DESCRIPTOR;
constexpr auto kEngine = CUDNN_BACKEND_ENGINE_DESCRIPTOR;
constexpr auto kPlan = CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR;
constexpr auto kPack = CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR;
constexpr auto kChild = CUDNN_TYPE_BACKEND_DESCRIPTOR;

// By the tables of NVIDIA's "cudnn_graph Library" reference, as far as the attributes are used.
const Attribute kAttributes[] = {
    {kTensor, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, 1},
    {kTensor, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 1, CUDNN_DIM_MAX},
    {kTensor, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 1, CUDNN_DIM_MAX},
    {kTensor, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, 1},
    {kTensor, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, 1},
    {kTensor, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, 1, false},
    {kConv, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, 1},
    {kConv, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, 1},
    {kConv, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, 1},
    {kConv, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, 2},
    {kConv, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, 2},
    {kConv, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, 2},
    {kConv, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, 2},
    {kForward, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, kChild, 1, 1, true, kConv},
    {kForward, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, kChild, 1, 1, true, kTensor},
    {kForward, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, kChild, 1, 1, true, kTensor},
    {kForward, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, kChild, 1, 1, true, kTensor},
    {kForward, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1, 1},
    {kForward, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 1, 1},
    {kBackwardData, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, kChild, 1, 1, true, kConv},
    {kBackwardData, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, kChild, 1, 1, true, kTensor},
    {kBackwardData, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, kChild, 1, 1, true, kTensor},
    {kBackwardData, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, kChild, 1, 1, true, kTensor},
    {kBackwardData, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_TYPE_FLOAT, 1, 1},
    {kBackwardData, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA, CUDNN_TYPE_FLOAT, 1, 1},
    {kBackwardFilter, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, kChild, 1, 1, true, kConv},
    {kBackwardFilter, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, kChild, 1, 1, true, kTensor},
    {kBackwardFilter, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, kChild, 1, 1, true, kTensor},
    {kBackwardFilter, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, kChild, 1, 1, true, kTensor},
    {kBackwardFilter, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_TYPE_FLOAT, 1, 1},
    {kBackwardFilter, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA, CUDNN_TYPE_FLOAT, 1, 1},
    {kPointwise, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, 1},
    {kPointwise, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, 1},
    {kPointwise, CUDNN_ATTR_POINTWISE_NAN_PROPAGATION, CUDNN_TYPE_NAN_PROPOGATION, 1, 1, false},
    {kPointwise, CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP, CUDNN_TYPE_DOUBLE, 1, 1, false},
    {kPointwise, CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP, CUDNN_TYPE_DOUBLE, 1, 1, false},
    {kPointwise, CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP_SLOPE, CUDNN_TYPE_DOUBLE, 1, 1, false},
    {kPointwise, CUDNN_ATTR_POINTWISE_SWISH_BETA, CUDNN_TYPE_DOUBLE, 1, 1, false},
    {kPointwiseOp, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, kChild, 1, 1, true, kPointwise},
    {kPointwiseOp, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, kChild, 1, 1, true, kTensor},
    {kPointwiseOp, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, kChild, 1, 1, false, kTensor},
    {kPointwiseOp, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, kChild, 1, 1, true, kTensor},
    {kGraph, CUDNN_ATTR_OPERATIONGRAPH_OPS, kChild, 1, 100, true, kForward},  // any operation
    {kGraph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, 1},
    {kHeuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, kChild, 1, 1, true, kGraph},
    {kHeuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, 1},
    {kPlan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, 1},
    {kPlan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, kChild, 1, 1, true, kConfig},
    {kPack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, 1, 100},
    {kPack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 1, 100},
    {kPack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, 1},
};

std::string text(cudnnBackendDescriptorType_t kind, int name) {
  return "descriptor kind " + std::to_string(kind) + ", attribute " + std::to_string(name);
}

const Attribute& attribute(cudnnBackendDescriptorType_t kind, cudnnBackendAttributeName_t name) {
  for (const Attribute& a : kAttributes) {
    if (a.kind == kind && a.name == name) return a;
  }
  broken("cudnnBackendSetAttribute: no such attribute, or one the double does not know: " + text(kind, name));
}

std::size_t size_of(cudnnBackendAttributeType_t type) {
  switch (type) {
    case CUDNN_TYPE_BOOLEAN: return sizeof(bool);
    case CUDNN_TYPE_INT64:
    case CUDNN_TYPE_DOUBLE:
    case CUDNN_TYPE_VOID_PTR:
    case CUDNN_TYPE_HANDLE:
    case CUDNN_TYPE_BACKEND_DESCRIPTOR: return 8;
    default: return 4;
  }
}

bool is_operation(cudnnBackendDescriptorType_t kind) {
  return kind == kForward || kind == kBackwardData || kind == kBackwardFilter || kind == kPointwiseOp;
}

cudnnContext* handle_of(const Desc& d) {
  return d.one<cudnnContext*>(d.kind == kGraph ? CUDNN_ATTR_OPERATIONGRAPH_HANDLE : CUDNN_ATTR_EXECUTION_PLAN_HANDLE);
}

/// What goes out of GetAttribute: `count` values for an array of `room`.
template <class T>
cudnnStatus_t give(const std::vector<T>& values, int64_t room, int64_t* count, void* array) {
  if (count) *count = static_cast<int64_t>(values.size());
  const std::size_t given = std::min(values.size(), static_cast<std::size_t>(room));
  if (array && given > 0) std::memcpy(array, values.data(), given * sizeof(T));
  return CUDNN_STATUS_SUCCESS;
}

/// Fills descriptors that the caller made with what the heuristics found.
void fill(void* array, int64_t at, cudnnBackendDescriptorType_t kind, const Engine* engine,
          const std::shared_ptr<Desc>& graph) {
  const auto d = find(static_cast<cudnnBackendDescriptor_t*>(array)[at], "cudnnBackendGetAttribute");
  if (d->kind != kind) broken("cudnnBackendGetAttribute: a descriptor of another kind is to be filled");
  if (d->finalized) broken("cudnnBackendGetAttribute: a descriptor to be filled was finalized already");
  d->engine = engine;
  d->graph = graph;
  d->finalized = true;
}

}  // namespace

namespace fovea::cuda_double {
std::int64_t live_cudnn_handles() { return LiveHandles<cudnnContext>::count(); }
std::int64_t live_cudnn_descriptors() {
  const std::lock_guard lock(live().mutex);
  return static_cast<std::int64_t>(live().descriptors.size());
}
std::int64_t cudnn_heuristics_asked() { return live().heuristics_asked; }
}  // namespace fovea::cuda_double

extern "C" {

size_t cudnnGetVersion(void) { return CUDNN_VERSION; }
const char* cudnnGetErrorString(cudnnStatus_t status) {
  switch (status) {
    case CUDNN_STATUS_SUCCESS: return "CUDNN_STATUS_SUCCESS";
    case CUDNN_STATUS_NOT_SUPPORTED: return "CUDNN_STATUS_NOT_SUPPORTED";
    case CUDNN_STATUS_EXECUTION_FAILED: return "CUDNN_STATUS_EXECUTION_FAILED";
    default: return "CUDNN_STATUS_INTERNAL_ERROR";
  }
}
void cudnnGetLastErrorString(char* message, size_t size) { std::snprintf(message, size, "an injected failure"); }

cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
  if (fails_now("cudnn")) return CUDNN_STATUS_INTERNAL_ERROR;
  *handle = LiveHandles<cudnnContext>::create();
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
  LiveHandles<cudnnContext>::destroy(handle, "cudnnDestroy");
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  const Use use(handle, "cudnnSetStream");
  if (fails_now("cudnn")) return CUDNN_STATUS_INTERNAL_ERROR;
  handle->stream = stream;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t kind, cudnnBackendDescriptor_t* descriptor) {
  if (fails_now("cudnn")) return CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED;
  auto made = std::make_shared<Desc>();
  made->kind = kind;
  *descriptor = made.get();
  const std::lock_guard lock(live().mutex);
  live().descriptors.emplace(*descriptor, std::move(made));
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
  const std::lock_guard lock(live().mutex);
  if (live().descriptors.erase(descriptor) == 0)
    broken("cudnnBackendDestroyDescriptor: the descriptor was destroyed or never created");
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count, const void* array) {
  const auto d = find(descriptor, "cudnnBackendSetAttribute");
  const std::string what = "cudnnBackendSetAttribute: " + text(d->kind, name);
  if (d->finalized) broken(what + ": set after finalization");
  const Attribute& a = attribute(d->kind, name);
  if (type != a.type) broken(what + ": type " + std::to_string(type) + " instead of " + std::to_string(a.type));
  if (count < a.least || count > a.most) broken(what + ": " + std::to_string(count) + " elements");
  if (!array) broken(what + ": no elements");
  if (fails_now("cudnn")) return CUDNN_STATUS_INTERNAL_ERROR;
  Desc::Value v{type, count, {}, {}};
  const auto* bytes = static_cast<const unsigned char*>(array);
  v.bytes.assign(bytes, bytes + static_cast<std::size_t>(count) * size_of(type));
  if (type == kChild) {
    for (int64_t i = 0; i < count; ++i) {
      auto child = find(static_cast<const cudnnBackendDescriptor_t*>(array)[i], what.c_str());
      const bool fits = name == CUDNN_ATTR_OPERATIONGRAPH_OPS ? is_operation(child->kind) : child->kind == a.child;
      if (!fits) broken(what + ": a descriptor of kind " + std::to_string(child->kind));
      if (!child->finalized) broken(what + ": a descriptor that was not finalized");
      v.children.push_back(std::move(child));
    }
  }
  d->values[name] = std::move(v);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
  const auto d = find(descriptor, "cudnnBackendFinalize");
  if (d->finalized) broken("cudnnBackendFinalize: finalized before, kind " + std::to_string(d->kind));
  if (d->kind == kConfig || d->kind == kEngine) broken("cudnnBackendFinalize: engines come from the heuristics here");
  for (const Attribute& a : kAttributes) {
    if (a.kind == d->kind && a.required && !d->has(a.name))
      broken("cudnnBackendFinalize: required and not set: " + text(a.kind, a.name));
  }
  if (fails_now("cudnn")) return CUDNN_STATUS_INTERNAL_ERROR;
  if (d->kind == kGraph) {
    const Use use(handle_of(*d), "cudnnBackendFinalize of a graph");
    check_graph(*d);
  }
  if (d->kind == kHeuristics) ++live().heuristics_asked;
  if (d->kind == kPlan) {
    const Use use(handle_of(*d), "cudnnBackendFinalize of a plan");
    const Desc& config = d->child(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
    if (handle_of(*config.graph) != handle_of(*d)) broken("a plan has another handle than its graph");
    if (config.engine->plan_refused) return CUDNN_STATUS_NOT_SUPPORTED;
  }
  d->finalized = true;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t room, int64_t* count, void* array) {
  const auto d = find(descriptor, "cudnnBackendGetAttribute");
  const std::string what = "cudnnBackendGetAttribute: " + text(d->kind, name);
  if (!d->finalized) broken(what + ": asked before finalization");
  if (room > 0 && !array) broken(what + ": nowhere to put the elements");
  if (fails_now("cudnn")) return CUDNN_STATUS_INTERNAL_ERROR;
  const auto wants = [&](cudnnBackendAttributeType_t right) {
    if (type != right) broken(what + ": type " + std::to_string(type) + " instead of " + std::to_string(right));
  };
  if (d->kind == kHeuristics && name == CUDNN_ATTR_ENGINEHEUR_RESULTS) {
    wants(kChild);
    const auto& graph = d->values.at(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH).children.front();
    const auto found = engines_for(*graph, d->one<cudnnBackendHeurMode_t>(CUDNN_ATTR_ENGINEHEUR_MODE));
    *count = static_cast<int64_t>(found.size());
    for (int64_t i = 0; i < std::min(room, *count); ++i)
      fill(array, i, kConfig, found[static_cast<std::size_t>(i)], graph);
    return CUDNN_STATUS_SUCCESS;
  }
  if (d->kind == kConfig && name == CUDNN_ATTR_ENGINECFG_ENGINE) {
    wants(kChild);
    fill(array, 0, kEngine, d->engine, d->graph);
    if (count) *count = 1;
    return CUDNN_STATUS_SUCCESS;
  }
  if (d->kind == kEngine && name == CUDNN_ATTR_ENGINE_NUMERICAL_NOTE) {
    wants(CUDNN_TYPE_NUMERICAL_NOTE);
    return give(d->engine->notes, room, count, array);
  }
  if (d->kind == kEngine && name == CUDNN_ATTR_ENGINE_GLOBAL_INDEX) {
    wants(CUDNN_TYPE_INT64);
    return give(std::vector<int64_t>{d->engine->index}, room, count, array);
  }
  if (d->kind == kPlan && name == CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE) {
    wants(CUDNN_TYPE_INT64);
    const Desc& config = d->child(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
    return give(std::vector<int64_t>{static_cast<int64_t>(config.engine->workspace)}, room, count, array);
  }
  broken(what + ": not known to the double");
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan, cudnnBackendDescriptor_t pack) {
  const Use use(handle, "cudnnBackendExecute");
  const auto p = find(plan, "cudnnBackendExecute"), v = find(pack, "cudnnBackendExecute");
  if (p->kind != kPlan || v->kind != kPack) broken("cudnnBackendExecute: descriptors of the wrong kind");
  if (!p->finalized || !v->finalized) broken("cudnnBackendExecute: a descriptor that was not finalized");
  if (handle_of(*p) != handle) broken("cudnnBackendExecute: the plan was made with another handle");
  if (!handle->stream) broken("cudnnBackendExecute: no stream was set");
  if (fails_now("cudnn")) return CUDNN_STATUS_EXECUTION_FAILED;
  return execute(*p, *v, handle->stream) ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_EXECUTION_FAILED;
}

}  // extern "C"
