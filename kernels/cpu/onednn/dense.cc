// Matrix products and dense layers by oneDNN; the lists in kernels/dense.cc give the numbers.
#ifdef FOVEA_ONEDNN

#include <algorithm>

#include "kernels/check_internal.h"
#include "kernels/cpu/onednn/primitives.h"
#include "kernels/cpu/scratch.h"

namespace fovea::kernels::onednn {
namespace {

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
                  slope_key(p.activation)};
    const auto ready = kept_primitive(key, [&] { return make_product(p); });
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

}  // namespace fovea::kernels::onednn

#endif  // FOVEA_ONEDNN
