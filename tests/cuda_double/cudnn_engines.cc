// The double of cuDNN's engines: which there are for a graph, and what they compute, by plain loops in double. Those
// that a caller who wants exact and repeatable results must not choose compute something else, so that it shows.
#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <functional>
#include <mutex>
#include <optional>
#include <set>

#include "core/dtype.h"
#include "cudnn_descriptors.h"

namespace fovea::cuda_double {
namespace {

using Four = std::array<std::int64_t, 4>;

constexpr std::size_t kHuge = std::size_t{1} << 30, kSome = (std::size_t{1} << 16) + 16;

const Engine kConvEngines[] = {
    {46,
     "halves",
     {CUDNN_NUMERICAL_NOTE_TENSOR_CORE, CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS},
     131,
     true,
     false,
     false,
     true,
     1e-2},
    {67, "tensor cores", {CUDNN_NUMERICAL_NOTE_TENSOR_CORE}, 131, true, false, false, true, 0},
    {12, "half sums", {CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION}, 0, true, true, false, false, 1e-2},
    {20, "atomics", {CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC}, 0, true, true, false, false, 1e-3},
    {5,
     "large tiles",
     {CUDNN_NUMERICAL_NOTE_WINOGRAD, CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13},
     kSome,
     true,
     false,
     false,
     false,
     1e-3},
    {41, "huge workspace", {}, kHuge, true, false, false, false, 0},
    {33, "no plan", {}, 0, true, true, true, false, 0},
    {70, "plain", {}, kSome, true, false, false, false, 0},
    {28, "second", {CUDNN_NUMERICAL_NOTE_WINOGRAD}, 0, true, false, false, false, 0},
    {1, "fallback", {}, 4096, false, true, false, false, 0},
    {0, "loops", {CUDNN_NUMERICAL_NOTE_STRICT_NAN_PROP}, 0, true, true, false, false, 0},
};
const Engine kFusedEngines[] = {
    {51, "fused tensor cores", {CUDNN_NUMERICAL_NOTE_TENSOR_CORE}, 131, true, false, false, true, 0},
    {20, "fused atomics", {CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC}, 0, true, true, false, false, 1e-3},
    {44, "fused", {}, kSome, true, false, false, false, 0},
    {0, "fused loops", {CUDNN_NUMERICAL_NOTE_STRICT_NAN_PROP}, 0, true, true, false, false, 0},
};

std::atomic<CudnnFusion> fusion = CudnnFusion::as_9_19;
std::atomic<bool> refusing = false;
std::mutex last_mutex;
std::string last_engine;

struct TensorOf {
  std::int64_t uid, alignment;
  bool is_virtual;
  cudnnDataType_t type;
  Four extents, strides;

  explicit TensorOf(const Desc& d)
      : uid(d.one<std::int64_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID)),
        alignment(d.one<std::int64_t>(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT)),
        is_virtual(d.one_or(CUDNN_ATTR_TENSOR_IS_VIRTUAL, false)),
        type(d.one<cudnnDataType_t>(CUDNN_ATTR_TENSOR_DATA_TYPE)) {
    if (type != CUDNN_DATA_FLOAT && type != CUDNN_DATA_HALF && type != CUDNN_DATA_BFLOAT16)
      broken("cuDNN: a tensor is not f32, f16 or bf16");
    if (is_virtual && type != CUDNN_DATA_FLOAT) broken("cuDNN: what never reaches memory is meant to be f32");
    const auto e = d.all<std::int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS),
               s = d.all<std::int64_t>(CUDNN_ATTR_TENSOR_STRIDES);
    if (e.size() != 4 || s.size() != 4) broken("cuDNN: a tensor of a 2-D convolution needs 4 extents and strides");
    std::copy(e.begin(), e.end(), extents.begin());
    std::copy(s.begin(), s.end(), strides.begin());
    const auto& [n, c, h, w] = extents;
    if (std::min({n, c, h, w}) < 1) broken("cuDNN: an extent is not positive");
    if (strides != Four{h * w * c, 1, w * c, c}) broken("cuDNN: strides are not those of a dense channels-last tensor");
    if (alignment < size() || alignment > 256 || (alignment & (alignment - 1)) != 0)
      broken("cuDNN: alignment must be a power of two and no less than an element");
  }
  std::int64_t size() const { return type == CUDNN_DATA_FLOAT ? 4 : 2; }
  double read(const void* memory, std::int64_t i) const {
    switch (type) {
      case CUDNN_DATA_HALF: return static_cast<double>(static_cast<float>(static_cast<const f16*>(memory)[i]));
      case CUDNN_DATA_BFLOAT16: return static_cast<double>(static_cast<float>(static_cast<const bf16*>(memory)[i]));
      default: return static_cast<double>(static_cast<const float*>(memory)[i]);
    }
  }
  void write(void* memory, std::int64_t i, double value) const {
    const auto narrow = static_cast<float>(value);
    switch (type) {
      case CUDNN_DATA_HALF: static_cast<f16*>(memory)[i] = f16(narrow); break;
      case CUDNN_DATA_BFLOAT16: static_cast<bf16*>(memory)[i] = bf16(narrow); break;
      default: static_cast<float*>(memory)[i] = narrow;
    }
  }
  std::int64_t numel() const { return extents[0] * extents[1] * extents[2] * extents[3]; }
  std::int64_t at(std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) const {
    return n * strides[0] + c * strides[1] + h * strides[2] + w * strides[3];
  }
};

enum class Kind { forward, backward_data, backward_filter };

struct Convolution {
  Kind kind;
  TensorOf x, w, y;
  std::vector<std::int64_t> padding, stride, dilation;
  std::int64_t groups;

  static Convolution of(const Desc& op) {
    using A = cudnnBackendAttributeName_t;
    struct Names {
      Kind kind;
      A conv, x, w, y, alpha, beta;
    };
    Names n{};
    switch (op.kind) {
      case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR:
        n = {Kind::forward,
             CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
             CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
             CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
             CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
             CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
             CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA};
        break;
      case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR:
        n = {Kind::backward_data,
             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA};
        break;
      case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR:
        n = {Kind::backward_filter,
             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA};
        break;
      default: broken("cuDNN: the first operation of a graph is not a convolution");
    }
    if (op.one<float>(n.alpha) != 1 || op.one<float>(n.beta) != 0) broken("cuDNN: alpha is not 1 or beta not 0");
    const Desc& c = op.child(n.conv);
    if (c.one<std::int64_t>(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS) != 2) broken("cuDNN: not a 2-D convolution");
    if (c.one<cudnnDataType_t>(CUDNN_ATTR_CONVOLUTION_COMP_TYPE) != CUDNN_DATA_FLOAT) broken("cuDNN: not in f32");
    if (c.one<cudnnConvolutionMode_t>(CUDNN_ATTR_CONVOLUTION_CONV_MODE) != CUDNN_CROSS_CORRELATION)
      broken("cuDNN: the kernel would be turned over");
    Convolution r{n.kind,
                  TensorOf(op.child(n.x)),
                  TensorOf(op.child(n.w)),
                  TensorOf(op.child(n.y)),
                  c.all<std::int64_t>(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS),
                  c.all<std::int64_t>(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES),
                  c.all<std::int64_t>(CUDNN_ATTR_CONVOLUTION_DILATIONS),
                  1};
    if (r.padding != c.all<std::int64_t>(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS))
      broken("cuDNN: padding differs before and behind, which few engines get right");
    r.check();
    return r;
  }

  void check() {
    for (const TensorOf* t : {&w, &y}) {
      if (t->type != x.type && !t->is_virtual) broken("cuDNN: images and weights are of different types");
    }
    const auto &xe = x.extents, &we = w.extents, &ye = y.extents;
    if (xe[1] % we[1] != 0) broken("cuDNN: input channels are no multiple of the weights'");
    groups = xe[1] / we[1];
    if (we[0] % groups != 0) broken("cuDNN: output channels do not divide into the groups");
    if (ye[0] != xe[0] || ye[1] != we[0]) broken("cuDNN: batch or channels of the result do not fit");
    for (std::size_t i = 0; i < 2; ++i) {
      if (padding[i] < 0 || stride[i] < 1 || dilation[i] < 1) broken("cuDNN: padding, stride or dilation out of range");
      const std::int64_t room = xe[i + 2] + 2 * padding[i] - dilation[i] * (we[i + 2] - 1) - 1;
      if (room < 0 || room / stride[i] + 1 != ye[i + 2]) broken("cuDNN: the result's size is not that of the formula");
    }
  }
};

struct Pointwise {
  cudnnPointwiseMode_t mode;
  std::int64_t from, to;
  std::optional<TensorOf> bias;
  double lower, upper, slope;
  bool keeps_nan;

  static Pointwise of(const Desc& op) {
    if (op.kind != CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR)
      broken("cuDNN: behind a convolution only pointwise operations");
    const Desc& how = op.child(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR);
    const TensorOf x(op.child(CUDNN_ATTR_OPERATION_POINTWISE_XDESC)), y(op.child(CUDNN_ATTR_OPERATION_POINTWISE_YDESC));
    if (x.extents != y.extents) broken("cuDNN: a pointwise operation changes the shape");
    if (how.one<cudnnDataType_t>(CUDNN_ATTR_POINTWISE_MATH_PREC) != CUDNN_DATA_FLOAT) broken("cuDNN: not in f32");
    Pointwise p{how.one<cudnnPointwiseMode_t>(CUDNN_ATTR_POINTWISE_MODE),
                x.uid,
                y.uid,
                std::nullopt,
                how.one_or(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP, 0.0),
                how.one_or(CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP, 3.4028234663852886e38),
                how.one_or(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP_SLOPE, 0.0),
                how.one_or(CUDNN_ATTR_POINTWISE_NAN_PROPAGATION, CUDNN_NOT_PROPAGATE_NAN) == CUDNN_PROPAGATE_NAN};
    const bool adds = p.mode == CUDNN_POINTWISE_ADD, has = op.has(CUDNN_ATTR_OPERATION_POINTWISE_BDESC);
    if (adds != has) broken("cuDNN: a pointwise operation has too many or too few operands");
    if (how.one_or(CUDNN_ATTR_POINTWISE_SWISH_BETA, 1.0) != 1) broken("cuDNN: silu is swish with beta 1");
    if (has) {
      p.bias = TensorOf(op.child(CUDNN_ATTR_OPERATION_POINTWISE_BDESC));
      if (p.bias->extents != Four{1, y.extents[1], 1, 1}) broken("cuDNN: a bias is not [1, C, 1, 1]");
      if (p.bias->type != CUDNN_DATA_FLOAT) broken("cuDNN: a bias is meant to be f32");
    }
    return p;
  }

  double apply(double v, const float* bias_data, std::int64_t channel) const {
    const auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
    switch (mode) {
      case CUDNN_POINTWISE_ADD:
        if (!bias_data) broken("cuDNN: a bias without memory");
        return v + static_cast<double>(bias_data[channel]);
      case CUDNN_POINTWISE_RELU_FWD:
        if (std::isnan(v)) return keeps_nan ? v : lower;
        return v > lower ? std::min(v, upper) : lower + slope * (v - lower);
      case CUDNN_POINTWISE_SIGMOID_FWD: return sigmoid(v);
      case CUDNN_POINTWISE_SWISH_FWD: return v * sigmoid(v);
      case CUDNN_POINTWISE_GELU_FWD: return v * 0.5 * std::erfc(-v * 0.70710678118654752440);
      default: broken("cuDNN: a pointwise mode the double does not know");
    }
  }
};

struct Program {
  Convolution conv;
  std::vector<Pointwise> then;
  TensorOf result;  // what is written in the end

  static Program of(const Desc& graph) {
    const auto& ops = graph.values.at(CUDNN_ATTR_OPERATIONGRAPH_OPS).children;
    const Convolution conv = Convolution::of(*ops.front());
    const TensorOf& written = conv.kind == Kind::forward ? conv.y : conv.kind == Kind::backward_data ? conv.x : conv.w;
    Program p{conv, {}, written};
    if (ops.size() > 1 && conv.kind != Kind::forward) broken("cuDNN: fusion behind a gradient");
    for (std::size_t i = 1; i < ops.size(); ++i) {
      p.then.push_back(Pointwise::of(*ops[i]));
      if (!p.result.is_virtual) broken("cuDNN: a result between operations is not virtual");
      if (p.then.back().from != p.result.uid) broken("cuDNN: an operation does not read what the one before wrote");
      p.result = TensorOf(ops[i]->child(CUDNN_ATTR_OPERATION_POINTWISE_YDESC));
    }
    if (p.result.is_virtual) broken("cuDNN: the last result is virtual");
    if (p.result.type != conv.x.type) broken("cuDNN: the result is of another type than the image");
    return p;
  }

  /// Tensors in memory.
  std::vector<TensorOf> operands() const {
    std::vector<TensorOf> list;
    for (const TensorOf& t : {conv.x, conv.w, conv.y, result}) {
      const bool known = std::any_of(list.begin(), list.end(), [&](const TensorOf& o) { return o.uid == t.uid; });
      if (!t.is_virtual && !known) list.push_back(t);
    }
    for (const Pointwise& p : then) {
      if (p.bias) list.push_back(*p.bias);
    }
    return list;
  }
};

/// Whether any engine takes the operations behind the convolution, and whether only the slowest one does.
enum class Taken { no, slowly, yes };
Taken taken(const Program& p) {
  if (fusion == CudnnFusion::all) return Taken::yes;
  if (fusion == CudnnFusion::none || !p.then.front().bias || p.then.size() > 2) return Taken::no;
  if (p.then.size() == 1) return Taken::yes;
  const Pointwise& act = p.then[1];
  if (act.mode != CUDNN_POINTWISE_RELU_FWD || act.slope != 0) return Taken::no;
  return act.upper < 3e38 ? Taken::slowly : Taken::yes;
}

using Addresses = std::map<std::int64_t, void*>;

void compute(const Program& p, const Engine& engine, const Addresses& memory) {
  const Convolution& c = p.conv;
  // What is read, once, as the engine sees it. Halves are TF32 as they are.
  const auto values = [&](const TensorOf& t, bool written) {
    std::vector<double> all(written ? 0 : static_cast<std::size_t>(t.numel()));
    for (std::size_t i = 0; i < all.size(); ++i) {
      const double v = t.read(memory.at(t.uid), static_cast<std::int64_t>(i));
      all[i] = engine.rounds ? static_cast<double>(to_tf32(static_cast<float>(v))) : v;
    }
    return all;
  };
  const std::vector<double> xs = values(c.x, c.kind == Kind::backward_data),
                            ws = values(c.w, c.kind == Kind::backward_filter),
                            ys = values(c.y, c.kind == Kind::forward);
  const auto at = [](const std::vector<double>& all, std::int64_t i) { return all[static_cast<std::size_t>(i)]; };
  const auto &xe = c.x.extents, &we = c.w.extents, &ye = c.y.extents;
  const std::int64_t co_group = we[0] / c.groups, ci_group = we[1];
  std::vector<double> sums(static_cast<std::size_t>(p.result.numel()), 0.0);
  for (std::int64_t n = 0; n < ye[0]; ++n) {
    for (std::int64_t o = 0; o < ye[1]; ++o) {
      for (std::int64_t i = 0; i < ye[2]; ++i) {
        for (std::int64_t j = 0; j < ye[3]; ++j) {
          const std::int64_t y_at = c.y.at(n, o, i, j);
          const double dy = c.kind == Kind::forward ? 0 : at(ys, y_at);
          double sum = 0;
          for (std::int64_t a = 0; a < we[2]; ++a) {
            for (std::int64_t b = 0; b < we[3]; ++b) {
              const std::int64_t row = i * c.stride[0] + a * c.dilation[0] - c.padding[0],
                                 column = j * c.stride[1] + b * c.dilation[1] - c.padding[1];
              if (row < 0 || row >= xe[2] || column < 0 || column >= xe[3]) continue;
              for (std::int64_t k = 0; k < ci_group; ++k) {
                const std::int64_t x_at = c.x.at(n, o / co_group * ci_group + k, row, column),
                                   w_at = c.w.at(o, k, a, b);
                switch (c.kind) {
                  case Kind::forward: sum += at(xs, x_at) * at(ws, w_at); break;
                  case Kind::backward_data: sums[static_cast<std::size_t>(x_at)] += dy * at(ws, w_at); break;
                  case Kind::backward_filter: sums[static_cast<std::size_t>(w_at)] += dy * at(xs, x_at); break;
                }
              }
            }
          }
          if (c.kind == Kind::forward) {
            for (const Pointwise& then : p.then)
              sum = then.apply(sum, then.bias ? static_cast<const float*>(memory.at(then.bias->uid)) : nullptr, o);
            sums[static_cast<std::size_t>(y_at)] = sum;
          }
        }
      }
    }
  }
  for (std::size_t k = 0; k < sums.size(); ++k)
    p.result.write(memory.at(p.result.uid), static_cast<std::int64_t>(k), sums[k] * (1 + engine.error));
}

}  // namespace

void support_cudnn_fusion(CudnnFusion what) { fusion = what; }
void refuse_cudnn(bool on) { refusing = on; }
std::string last_cudnn_engine() {
  const std::lock_guard lock(last_mutex);
  return last_engine;
}

void check_graph(const Desc& graph) {
  std::set<std::int64_t> uids;
  for (const TensorOf& t : Program::of(graph).operands()) {
    if (!uids.insert(t.uid).second) broken("cuDNN: two tensors of a graph have the same id");
  }
}

std::vector<const Engine*> engines_for(const Desc& graph, cudnnBackendHeurMode_t mode) {
  if (mode != CUDNN_HEUR_MODE_A && mode != CUDNN_HEUR_MODE_FALLBACK) broken("cuDNN: another heuristic mode than A");
  std::vector<const Engine*> found;
  if (refusing) return found;
  const Program p = Program::of(graph);
  const Taken how = p.then.empty() ? Taken::yes : taken(p);
  const auto look = [&](const auto& engines) {
    for (const Engine& e : engines) {
      if (how == Taken::no || (how == Taken::slowly && e.index != 0)) continue;
      // So that the fallback list is needed sometimes: the good engines do not do dilation.
      const bool dilated = p.conv.dilation[0] > 1 && (e.index == 70 || e.index == 28 || e.index == 0);
      // Tensor cores read 16 bytes of halves at once.
      const bool fed = std::none_of(e.notes.begin(), e.notes.end(), [&](auto note) {
        return note == CUDNN_NUMERICAL_NOTE_TENSOR_CORE && p.conv.x.type != CUDNN_DATA_FLOAT &&
               std::min({p.conv.x.alignment, p.conv.w.alignment, p.result.alignment}) < 16;
      });
      if (!fed) continue;
      if (mode == CUDNN_HEUR_MODE_A ? e.in_mode_a && !dilated : e.in_fallback) found.push_back(&e);
    }
  };
  p.then.empty() ? look(kConvEngines) : look(kFusedEngines);
  return found;
}

bool execute(const Desc& plan, const Desc& pack, cudaStream_t stream) {
  const Desc& config = plan.child(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
  const Engine& engine = *config.engine;
  const Program program = Program::of(*config.graph);
  const auto uids = pack.all<std::int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
  const auto pointers = pack.all<void*>(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
  if (uids.size() != pointers.size()) broken("cudnnBackendExecute: not as many addresses as ids");
  Addresses memory;
  for (std::size_t i = 0; i < uids.size(); ++i) {
    if (!memory.emplace(uids[i], pointers[i]).second) broken("cudnnBackendExecute: an id is there twice");
  }
  std::array<const void*, 5> used{};
  std::size_t count = 0;
  for (const TensorOf& t : program.operands()) {
    const auto found = memory.find(t.uid);
    if (found == memory.end()) broken("cudnnBackendExecute: no address for tensor " + std::to_string(t.uid));
    if (reinterpret_cast<std::uintptr_t>(found->second) % static_cast<std::uintptr_t>(t.alignment) != 0)
      broken("cudnnBackendExecute: tensor " + std::to_string(t.uid) + " is less aligned than was said");
    check_device_memory(found->second, static_cast<std::size_t>(t.numel() * t.size()), "operand of cuDNN");
    used[count++] = found->second;
  }
  auto* workspace = static_cast<char*>(pack.one<void*>(CUDNN_ATTR_VARIANT_PACK_WORKSPACE));
  const std::size_t bytes = engine.workspace;
  if (bytes >= kHuge) broken("cudnnBackendExecute: a plan with a workspace of 1 GB was chosen");
  if (bytes > 0) {
    if (reinterpret_cast<std::uintptr_t>(workspace) % 16 != 0) broken("cudnnBackendExecute: workspace not aligned");
    check_device_memory(workspace, bytes, "workspace of cuDNN");
    used[count] = workspace;
  }
  {
    const std::lock_guard lock(last_mutex);
    last_engine = engine.name;
  }
  return launch_library(stream, "cudnnBackendExecute", {used[0], used[1], used[2], used[3], used[4]}, [=, &engine] {
    if (bytes > 0) std::memset(workspace, 0xff, bytes);  // it is the engine's to write
    compute(program, engine, memory);
  });
}

}  // namespace fovea::cuda_double
