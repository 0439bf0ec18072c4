// oneDNN's place here: what our own kernels do not do (grouped convolutions with narrow groups) or do not do faster;
// the lists in kernels/conv2d.cc and dense.cc give the numbers. Activations are NHWC as everywhere; weights are
// reordered into what the primitive prefers, kept by (storage, version) where they repeat.
//
// Creating a primitive costs 0.1 to 1 ms, so they are kept, least recently used out first. Scratchpads are ours:
// oneDNN's own belong to the thread that created the primitive, and ours may be run by another.
#ifdef FOVEA_ONEDNN

#include "kernels/cpu/onednn/adapter.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>

#include <oneapi/dnnl/dnnl.hpp>

#include "core/threads/parallel.h"
#include "kernels/check_internal.h"
#include "kernels/cpu/pack_cache.h"
#include "kernels/cpu/scratch.h"

namespace fovea::kernels::onednn {
namespace {

using dnnl::algorithm;
using dnnl::memory;
using dnnl::primitive_attr;
using dnnl::prop_kind;
using Dims = memory::dims;

dnnl::engine& engine() {
  static auto* made =
      new dnnl::engine(dnnl::engine::kind::cpu, 0);  // never destroyed: threads may outlive static objects
  return *made;
}

// ---- the differences between versions 2 and 3: operation descriptors are gone, post-ops have no scale, pooling has a
// dilation

#if DNNL_VERSION_MAJOR >= 3
template <class Primitive, class... Args>
typename Primitive::primitive_desc describe(const primitive_attr& attr, Args&&... args) {
  return typename Primitive::primitive_desc(engine(), std::forward<Args>(args)..., attr);
}
template <class Primitive, class Hint, class... Args>
typename Primitive::primitive_desc describe_backward(const primitive_attr& attr, const Hint& hint, Args&&... args) {
  return typename Primitive::primitive_desc(engine(), std::forward<Args>(args)..., hint, attr);
}
void append_eltwise(dnnl::post_ops& ops, algorithm kind, float alpha, float beta) {
  ops.append_eltwise(kind, alpha, beta);
}
auto describe_pool_forward(const primitive_attr& attr, algorithm kind, const memory::desc& src, const memory::desc& dst,
                           const Dims& strides, const Dims& window, const Dims& before, const Dims& after) {
  return describe<dnnl::pooling_forward>(attr, prop_kind::forward_inference, kind, src, dst, strides, window,
                                         Dims{0, 0}, before, after);
}
auto describe_pool_backward(const primitive_attr& attr, const dnnl::pooling_forward::primitive_desc& hint,
                            algorithm kind, const memory::desc& src, const memory::desc& dst, const Dims& strides,
                            const Dims& window, const Dims& before, const Dims& after) {
  return describe_backward<dnnl::pooling_backward>(attr, hint, kind, src, dst, strides, window, Dims{0, 0}, before,
                                                   after);
}
#else
template <class Primitive, class... Args>
typename Primitive::primitive_desc describe(const primitive_attr& attr, Args&&... args) {
  return typename Primitive::primitive_desc(typename Primitive::desc(std::forward<Args>(args)...), attr, engine());
}
template <class Primitive, class Hint, class... Args>
typename Primitive::primitive_desc describe_backward(const primitive_attr& attr, const Hint& hint, Args&&... args) {
  return
      typename Primitive::primitive_desc(typename Primitive::desc(std::forward<Args>(args)...), attr, engine(), hint);
}
void append_eltwise(dnnl::post_ops& ops, algorithm kind, float alpha, float beta) {
  ops.append_eltwise(1.0f, kind, alpha, beta);
}
auto describe_pool_forward(const primitive_attr& attr, algorithm kind, const memory::desc& src, const memory::desc& dst,
                           const Dims& strides, const Dims& window, const Dims& before, const Dims& after) {
  return describe<dnnl::pooling_forward>(attr, prop_kind::forward_inference, kind, src, dst, strides, window, before,
                                         after);
}
auto describe_pool_backward(const primitive_attr& attr, const dnnl::pooling_forward::primitive_desc& hint,
                            algorithm kind, const memory::desc& src, const memory::desc& dst, const Dims& strides,
                            const Dims& window, const Dims& before, const Dims& after) {
  return describe_backward<dnnl::pooling_backward>(attr, hint, kind, src, dst, strides, window, before, after);
}
#endif

// ---- primitives, kept

/// A primitive with what it takes to run it.
struct Ready {
  dnnl::primitive primitive;
  memory::desc src, weights, bias, dst;  ///< as the primitive wants them
  memory::desc user_weights;             ///< as they lie in our tensors
  std::optional<dnnl::reorder> reorder;  ///< of weights, into or (gradients) out of the primitive's layout
  std::size_t scratch_bytes = 0;
};

using Key = std::array<std::int64_t, 24>;
struct KeyHash {
  std::size_t operator()(const Key& key) const {
    std::uint64_t h = 0xcbf29ce484222325u;
    for (const std::int64_t v : key) h = (h ^ static_cast<std::uint64_t>(v)) * 0x100000001b3u;
    return static_cast<std::size_t>(h ^ (h >> 31));
  }
};

class PrimitiveCache {
 public:
  template <class Make>
  std::shared_ptr<const Ready> get(const Key& key, Make&& make) {
    {
      const std::lock_guard lock(mutex_);
      if (const auto found = index_.find(key); found != index_.end()) {
        order_.splice(order_.begin(), order_, found->second);
        return found->second->second;
      }
    }
    auto made = std::make_shared<const Ready>(make());  // outside the lock; two threads may make the same one
    const std::lock_guard lock(mutex_);
    if (const auto found = index_.find(key); found != index_.end()) return found->second->second;
    order_.emplace_front(key, made);
    index_[key] = order_.begin();
    if (order_.size() > kMaxPrimitives) {
      index_.erase(order_.back().first);
      order_.pop_back();
    }
    return made;
  }
  std::size_t size() {
    const std::lock_guard lock(mutex_);
    return order_.size();
  }

 private:
  std::mutex mutex_;
  std::list<std::pair<Key, std::shared_ptr<const Ready>>> order_;
  std::unordered_map<Key, std::list<std::pair<Key, std::shared_ptr<const Ready>>>::iterator, KeyHash> index_;
};

PrimitiveCache& primitives() {
  static auto* made = new PrimitiveCache;
  return *made;
}

enum Kind : std::int64_t { kConv, kMatmul, kPool };

std::int64_t team() { return in_parallel() ? 1 : num_threads(); }

/// Runs fn with oneDNN's team set to ours and its errors translated.
template <class Fn>
void guarded(const char* op, Fn&& fn) {
  fovea::detail::sync_thread_team();
  try {
    fn();
  } catch (const dnnl::error& e) {
    const bool memory = e.status == dnnl_out_of_memory;
    throw Error(memory ? ErrorKind::memory : ErrorKind::device, op, str("oneDNN ", version(), " failed: ", e.what()),
                memory ? "use a smaller batch or image size" : "set FOVEA_IMPL=simd to go without oneDNN");
  }
}

memory::desc f32_desc(const Dims& dims, const Dims& strides) { return {dims, memory::data_type::f32, strides}; }
memory::desc any_desc(const Dims& dims) { return {dims, memory::data_type::f32, memory::format_tag::any}; }
/// oneDNN's dimensions are NCHW; the strides say that channels are innermost.
memory::desc nhwc(std::int64_t n, std::int64_t h, std::int64_t w, std::int64_t c) {
  return f32_desc({n, c, h, w}, {h * w * c, 1, w * c, c});
}
memory wrap(const memory::desc& desc, const void* data) { return memory(desc, engine(), const_cast<void*>(data)); }

primitive_attr attributes() {
  primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attr;
}

/// Whether the activation can be a post-op.
bool fuses(Activation kind) {
  return kind == Activation::none || kind == Activation::relu || kind == Activation::relu6 ||
         kind == Activation::leaky_relu;
}
void fuse(primitive_attr& attr, const ActivationParams& act) {
  dnnl::post_ops ops;
  switch (act.kind) {
    case Activation::relu: append_eltwise(ops, algorithm::eltwise_relu, 0, 0); break;
    case Activation::relu6: append_eltwise(ops, algorithm::eltwise_clip, 0, 6); break;
    case Activation::leaky_relu: append_eltwise(ops, algorithm::eltwise_relu, static_cast<float>(act.alpha), 0); break;
    default: return;
  }
  attr.set_post_ops(ops);
}

void execute(const Ready& ready, std::unordered_map<int, memory>& args) {
  if (ready.scratch_bytes > 0) {
    const memory::desc pad({static_cast<std::int64_t>(ready.scratch_bytes)}, memory::data_type::u8,
                           memory::format_tag::a);
    args[DNNL_ARG_SCRATCHPAD] = wrap(pad, scratch(ScratchSlot::worker, (ready.scratch_bytes + 3) / 4));
  }
  dnnl::stream stream(engine());
  ready.primitive.execute(stream, args);
  stream.wait();
}

void run_reorder(const Ready& ready, const memory& from, const memory& to) {
  dnnl::stream stream(engine());
  ready.reorder->execute(stream, const_cast<memory&>(from), const_cast<memory&>(to));
  stream.wait();
}

/// The weights as the primitive wants them: where they lie, or reordered into scratch, or kept from before.
struct PreparedWeights {
  memory value;
  std::shared_ptr<const float> kept;
};
PreparedWeights prepare_weights(const Ready& ready, const ConstView& w, const Key& key, std::int64_t rows) {
  if (!ready.reorder) return {wrap(ready.weights, w.data), nullptr};
  const std::size_t floats = (ready.weights.get_size() + 3) / 4;
  const auto fill = [&](float* to) { run_reorder(ready, wrap(ready.user_weights, w.data), wrap(ready.weights, to)); };
  if (cacheable(w) && rows < 1024) {
    PackKey pack{"onednn", w.data, w.storage_id, {}};
    // The layout follows from the whole problem; a hash of it keeps the key short, and the size is checked on top.
    pack.layout[0] = static_cast<std::int64_t>(KeyHash()(key));
    pack.layout[1] = key[1];
    pack.layout[2] = static_cast<std::int64_t>(floats);
    auto kept = cached_pack(pack, w.version, floats, fill);
    return {wrap(ready.weights, kept.get()), kept};
  }
  float* const to = scratch(ScratchSlot::caller, floats);
  fill(to);
  return {wrap(ready.weights, to), nullptr};
}

// ---- convolution

struct ConvDescs {
  memory::desc src, weights, any_weights, bias, dst;
  Dims strides, dilation, before, after;
};

ConvDescs conv_descs(const Conv2dProblem& p) {
  const std::int64_t g = p.params.groups, ci = p.ci() / g, co = p.co() / g, kh = p.kh(), kw = p.kw();
  const std::int64_t row = ci * p.co();  // floats of one kernel tap: [ci/g][co]
  ConvDescs d;
  d.src = nhwc(p.n(), p.h(), p.width(), p.ci());
  d.dst = nhwc(p.n(), p.ho(), p.wo(), p.co());
  const Dims dims = g > 1 ? Dims{g, co, ci, kh, kw} : Dims{co, ci, kh, kw};
  const Dims strides = g > 1 ? Dims{co, 1, p.co(), kw * row, row} : Dims{1, p.co(), kw * row, row};
  d.weights = f32_desc(dims, strides);
  d.any_weights = any_desc(dims);
  d.bias = f32_desc({p.co()}, {1});
  d.strides = {p.params.stride.h, p.params.stride.w};
  d.dilation = {p.params.dilation.h - 1, p.params.dilation.w - 1};
  d.before = {p.params.padding.top, p.params.padding.left};
  d.after = {p.params.padding.bottom, p.params.padding.right};
  return d;
}

Ready make_conv(const Conv2dProblem& p) {
  const ConvDescs d = conv_descs(p);
  primitive_attr attr = attributes();
  Ready ready;
  ready.user_weights = d.weights;
  ready.src = d.src;
  ready.dst = d.dst;
  ready.bias = d.bias;
  const auto kind = algorithm::convolution_direct;
  const auto forward = [&](prop_kind prop, const primitive_attr& a) {
    return p.bias || p.dbias ? describe<dnnl::convolution_forward>(a, prop, kind, d.src, d.any_weights, d.bias, d.dst,
                                                                   d.strides, d.dilation, d.before, d.after)
                             : describe<dnnl::convolution_forward>(a, prop, kind, d.src, d.any_weights, d.dst,
                                                                   d.strides, d.dilation, d.before, d.after);
  };
  const auto finish = [&](const auto& pd, const memory::desc& weights, const dnnl::primitive& primitive) {
    ready.primitive = primitive;
    ready.weights = weights;
    ready.scratch_bytes = pd.scratchpad_desc().get_size();
  };
  switch (p.direction) {
    case Conv2dProblem::Direction::forward: {
      if (fuses(p.activation.kind)) fuse(attr, p.activation);
      const auto pd = forward(prop_kind::forward_inference, attr);
      finish(pd, pd.weights_desc(), dnnl::convolution_forward(pd));
      break;
    }
    case Conv2dProblem::Direction::backward_data: {
      const auto pd = describe_backward<dnnl::convolution_backward_data>(
          attr, forward(prop_kind::forward_training, attr), kind, d.src, d.any_weights, d.dst, d.strides, d.dilation,
          d.before, d.after);
      finish(pd, pd.weights_desc(), dnnl::convolution_backward_data(pd));
      break;
    }
    case Conv2dProblem::Direction::backward_weights: {
      const auto hint = forward(prop_kind::forward_training, attr);
      const auto pd =
          p.dbias ? describe_backward<dnnl::convolution_backward_weights>(
                        attr, hint, kind, d.src, d.any_weights, d.bias, d.dst, d.strides, d.dilation, d.before, d.after)
                  : describe_backward<dnnl::convolution_backward_weights>(attr, hint, kind, d.src, d.any_weights, d.dst,
                                                                          d.strides, d.dilation, d.before, d.after);
      finish(pd, pd.diff_weights_desc(), dnnl::convolution_backward_weights(pd));
      break;
    }
  }
  if (ready.weights != ready.user_weights) {
    const bool out = p.direction == Conv2dProblem::Direction::backward_weights;
    ready.reorder = dnnl::reorder(dnnl::reorder::primitive_desc(engine(), out ? ready.weights : ready.user_weights,
                                                                engine(), out ? ready.user_weights : ready.weights));
  }
  return ready;
}

Key conv_key(const Conv2dProblem& p) {
  const Conv2dParams& c = p.params;
  std::int64_t alpha = 0;
  if (p.activation.kind == Activation::leaky_relu) std::memcpy(&alpha, &p.activation.alpha, sizeof alpha);
  return {kConv,
          static_cast<std::int64_t>(p.direction),
          team(),
          p.n(),
          p.h(),
          p.width(),
          p.ci(),
          p.kh(),
          p.kw(),
          p.co(),
          p.ho(),
          p.wo(),
          c.stride.h,
          c.stride.w,
          c.dilation.h,
          c.dilation.w,
          c.padding.top,
          c.padding.left,
          c.groups,
          p.bias.has_value(),
          p.dbias.has_value(),
          fuses(p.activation.kind) ? static_cast<std::int64_t>(p.activation.kind) : 0,
          alpha};
}

// ---- matrix products

struct Product {
  const float *a, *b;
  float* c;
  bool transpose_a = false, transpose_b = false;
  std::int64_t m, n, k;
  bool accumulate = false;
  const float* bias = nullptr;
  ActivationParams activation{Activation::none};
};

Ready make_product(const Product& p) {
  primitive_attr attr = attributes();
  if (p.accumulate) {
    dnnl::post_ops ops;
    ops.append_sum(1.0f);
    attr.set_post_ops(ops);
  } else {
    fuse(attr, p.activation);
  }
  Ready ready;
  ready.src = f32_desc({p.m, p.k}, p.transpose_a ? Dims{1, p.m} : Dims{p.k, 1});
  ready.weights = f32_desc({p.k, p.n}, p.transpose_b ? Dims{1, p.k} : Dims{p.n, 1});
  ready.dst = f32_desc({p.m, p.n}, {p.n, 1});
  ready.bias = f32_desc({1, p.n}, {p.n, 1});
  const auto pd = p.bias ? describe<dnnl::matmul>(attr, ready.src, ready.weights, ready.bias, ready.dst)
                         : describe<dnnl::matmul>(attr, ready.src, ready.weights, ready.dst);
  ready.primitive = dnnl::matmul(pd);
  ready.scratch_bytes = pd.scratchpad_desc().get_size();
  return ready;
}

void run_product(const char* op, const Product& p) {
  guarded(op, [&] {
    std::int64_t alpha = 0;
    if (p.activation.kind == Activation::leaky_relu) std::memcpy(&alpha, &p.activation.alpha, sizeof alpha);
    const Key key{kMatmul,
                  team(),
                  p.m,
                  p.n,
                  p.k,
                  p.transpose_a,
                  p.transpose_b,
                  p.accumulate,
                  p.bias != nullptr,
                  static_cast<std::int64_t>(p.activation.kind),
                  alpha};
    const auto ready = primitives().get(key, [&] { return make_product(p); });
    std::unordered_map<int, memory> args{{DNNL_ARG_SRC, wrap(ready->src, p.a)},
                                         {DNNL_ARG_WEIGHTS, wrap(ready->weights, p.b)},
                                         {DNNL_ARG_DST, wrap(ready->dst, p.c)}};
    if (p.bias) args[DNNL_ARG_BIAS] = wrap(ready->bias, p.bias);
    execute(*ready, args);
  });
}

const float* f32(const ConstView& view) { return static_cast<const float*>(view.data); }
float* f32(const View& view) { return static_cast<float*>(view.data); }

/// dbias[j] = Σ_i dy[i, j]: blocks of rows summed, then the blocks' sums.
void column_sums(const float* dy, std::int64_t rows, std::int64_t columns, float* out) {
  parallel_for(columns, 1024, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t j = begin; j < end; ++j) out[j] = 0;
    float* const block = scratch(ScratchSlot::worker, static_cast<std::size_t>(end - begin));
    for (std::int64_t first = 0; first < rows; first += 128) {
      std::fill_n(block, end - begin, 0.0f);
      for (std::int64_t i = first; i < std::min(rows, first + 128); ++i) {
        for (std::int64_t j = begin; j < end; ++j) block[j - begin] += dy[i * columns + j];
      }
      for (std::int64_t j = begin; j < end; ++j) out[j] += block[j - begin];
    }
  });
}

}  // namespace

const char* conv2d_declines(const Conv2dProblem& p) {
  if (const char* reason = needs_cpu_f32(p.out)) return reason;
  // 2.6.3 on AVX2, 3×14×14×3 to 33 channels, stride 2: most elements wrong by a factor (the agreement test shows it).
  if (p.direction == Conv2dProblem::Direction::backward_weights && p.params.groups == 1 && p.kh() == 1 && p.kw() == 1 &&
      p.params.stride != Size2{1, 1}) {
    return "wrong weight gradients of 1x1 at stride 2";
  }
  return nullptr;
}

void conv2d_run(const Conv2dProblem& p) {
  guarded("conv2d", [&] {
    const Key key = conv_key(p);
    const auto ready = primitives().get(key, [&] { return make_conv(p); });
    const std::int64_t rows = p.n() * p.ho() * p.wo();
    std::unordered_map<int, memory> args;
    switch (p.direction) {
      case Conv2dProblem::Direction::forward: {
        const PreparedWeights weights = prepare_weights(*ready, p.w, key, rows);
        args = {{DNNL_ARG_SRC, wrap(ready->src, p.x.data)},
                {DNNL_ARG_WEIGHTS, weights.value},
                {DNNL_ARG_DST, wrap(ready->dst, p.out.data)}};
        if (p.bias) args[DNNL_ARG_BIAS] = wrap(ready->bias, p.bias->data);
        execute(*ready, args);
        break;
      }
      case Conv2dProblem::Direction::backward_data: {
        const PreparedWeights weights = prepare_weights(*ready, p.w, key, rows);
        args = {{DNNL_ARG_DIFF_DST, wrap(ready->dst, p.y.data)},
                {DNNL_ARG_WEIGHTS, weights.value},
                {DNNL_ARG_DIFF_SRC, wrap(ready->src, p.out.data)}};
        execute(*ready, args);
        break;
      }
      case Conv2dProblem::Direction::backward_weights: {
        const memory user = wrap(ready->user_weights, p.out.data);
        const memory gradient =
            ready->reorder ? wrap(ready->weights, scratch(ScratchSlot::caller, (ready->weights.get_size() + 3) / 4))
                           : user;
        args = {{DNNL_ARG_SRC, wrap(ready->src, p.x.data)},
                {DNNL_ARG_DIFF_DST, wrap(ready->dst, p.y.data)},
                {DNNL_ARG_DIFF_WEIGHTS, gradient}};
        if (p.dbias) args[DNNL_ARG_DIFF_BIAS] = wrap(ready->bias, p.dbias->data);
        execute(*ready, args);
        if (ready->reorder) run_reorder(*ready, gradient, user);
        break;
      }
    }
  });
  if (!fuses(p.activation.kind)) activation_forward(p.activation, p.out, p.out);
}

const char* matmul_declines(const MatmulProblem& p) {
  if (const char* reason = needs_cpu_f32(p.c)) return reason;
  return p.k() == 0 ? "depth" : nullptr;
}

void matmul_run(const MatmulProblem& p) {
  run_product("matmul", {.a = f32(p.a),
                         .b = f32(p.b),
                         .c = f32(p.c),
                         .transpose_a = p.transpose_a,
                         .transpose_b = p.transpose_b,
                         .m = p.m(),
                         .n = p.n(),
                         .k = p.k(),
                         .accumulate = p.accumulate});
}

const char* dense_declines(const DenseProblem& p) { return needs_cpu_f32(p.out); }

void dense_run(const DenseProblem& p) {
  switch (p.direction) {
    case DenseProblem::Direction::forward: {
      Product product{.a = f32(p.x), .b = f32(p.w), .c = f32(p.out), .m = p.m(), .n = p.n(), .k = p.k()};
      if (p.bias) product.bias = f32(*p.bias);
      if (fuses(p.activation.kind)) product.activation = p.activation;
      run_product("dense", product);
      if (!fuses(p.activation.kind)) activation_forward(p.activation, p.out, p.out);
      return;
    }
    case DenseProblem::Direction::backward_data:
      return run_product(
          "dense_backward_data",
          {.a = f32(p.y), .b = f32(p.w), .c = f32(p.out), .transpose_b = true, .m = p.m(), .n = p.k(), .k = p.n()});
    case DenseProblem::Direction::backward_weights:
      run_product(
          "dense_backward_weights",
          {.a = f32(p.x), .b = f32(p.y), .c = f32(p.out), .transpose_a = true, .m = p.k(), .n = p.n(), .k = p.m()});
      if (p.dbias) column_sums(f32(p.y), p.m(), p.n(), f32(*p.dbias));
      return;
  }
}

// ---- pooling

const char* pool2d_declines(const Pool2dProblem& p) {
  if (const char* reason = needs_cpu_f32(p.out)) return reason;
  const bool max = p.params.kind == PoolKind::max;
  if (max && (p.pass == Pass::backward || p.argmax_out)) return "arg-maxima";
  // Cells beyond the padding (ceil mode) count in oneDNN's average over whole windows, and padding takes part in
  // nobody's maximum.
  if (p.params.ceil_mode) return "ceil mode";
  const Padding& pad = p.params.padding;
  if (pad.top >= p.params.window.h || pad.bottom >= p.params.window.h || pad.left >= p.params.window.w ||
      pad.right >= p.params.window.w) {
    return "windows outside the image";
  }
  return nullptr;
}

void pool2d_run(const Pool2dProblem& p) {
  guarded("pool2d", [&] {
    const Shape &x = p.x_shape, &y = p.y_shape;
    const bool backward = p.pass == Pass::backward;
    const algorithm kind = p.params.kind == PoolKind::max ? algorithm::pooling_max
                           : p.params.count_include_pad   ? algorithm::pooling_avg_include_padding
                                                          : algorithm::pooling_avg_exclude_padding;
    const Padding& pad = p.params.padding;
    const Key key{kPool,
                  backward,
                  team(),
                  static_cast<std::int64_t>(kind),
                  x[0],
                  x[1],
                  x[2],
                  x[3],
                  y[1],
                  y[2],
                  p.params.window.h,
                  p.params.window.w,
                  p.params.stride.h,
                  p.params.stride.w,
                  pad.top,
                  pad.left};
    const auto ready = primitives().get(key, [&] {
      Ready made;
      made.src = nhwc(x[0], x[1], x[2], x[3]);
      made.dst = nhwc(y[0], y[1], y[2], y[3]);
      const Dims strides{p.params.stride.h, p.params.stride.w}, window{p.params.window.h, p.params.window.w};
      const Dims before{pad.top, pad.left};
      const Dims after{(y[1] - 1) * p.params.stride.h + p.params.window.h - x[1] - pad.top,
                       (y[2] - 1) * p.params.stride.w + p.params.window.w - x[2] - pad.left};
      const primitive_attr attr = attributes();
      const auto forward = describe_pool_forward(attr, kind, made.src, made.dst, strides, window, before, after);
      if (backward) {
        const auto pd = describe_pool_backward(attr, forward, kind, made.src, made.dst, strides, window, before, after);
        made.primitive = dnnl::pooling_backward(pd);
        made.scratch_bytes = pd.scratchpad_desc().get_size();
      } else {
        made.primitive = dnnl::pooling_forward(forward);
        made.scratch_bytes = forward.scratchpad_desc().get_size();
      }
      return made;
    });
    std::unordered_map<int, memory> args;
    if (backward) {
      args = {{DNNL_ARG_DIFF_DST, wrap(ready->dst, p.in.data)}, {DNNL_ARG_DIFF_SRC, wrap(ready->src, p.out.data)}};
    } else {
      args = {{DNNL_ARG_SRC, wrap(ready->src, p.in.data)}, {DNNL_ARG_DST, wrap(ready->dst, p.out.data)}};
    }
    execute(*ready, args);
  });
}

std::size_t cached_primitives() { return primitives().size(); }

const char* version() {
  static const std::string text = [] {
    const dnnl_version_t* v = dnnl_version();
    return str(v->major, ".", v->minor, ".", v->patch);
  }();
  return text.c_str();
}

}  // namespace fovea::kernels::onednn

#endif  // FOVEA_ONEDNN
