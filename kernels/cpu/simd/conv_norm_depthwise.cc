// Depthwise convolutions with everything around them: rows of the input are read through the normalisation into a ring
// that stays in L2, a result row is made from the ring, and its sums are taken while it is there. Backward, one pass
// over the input's rows gives both gradients: the rows of dy under an input row lie in a ring as well. Arithmetic is
// f32 throughout, whatever the maps are kept in.
#include <algorithm>
#include <limits>
#include <vector>

#include "core/threads/parallel.h"
#include "kernels/cpu/simd/common.h"
#include "kernels/cpu/simd/conv_norm.h"
#include "kernels/cpu/simd/depthwise_raw.h"

namespace fovea::kernels::simd {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Shapes {
  std::int64_t h, w, c, kh, kw, ho, wo, n;
  Shapes(const Shape& x, const Shape& weights, const Shape& y)
      : h(x[1]), w(x[2]), c(x[3]), kh(weights[0]), kw(weights[1]), ho(y[1]), wo(y[2]), n(x[0]) {}
  std::int64_t grain() const { return std::max<std::int64_t>(1, kGrain / std::max<std::int64_t>(1, wo * c * kh)); }
};

/// The rows of one image that were read last, in f32; row i lies in slot i mod `slots`.
template <class Load>
class Ring {
 public:
  Ring(float* memory, std::int64_t slots, std::int64_t row_floats, Load load)
      : memory_(memory), slots_(slots), size_(row_floats), load_(load) {}
  /// Makes rows [begin, end) of image n present; windows only move forward.
  void need(std::int64_t n, std::int64_t begin, std::int64_t end) {
    if (n != image_) {
      image_ = n;
      next_ = begin;
    }
    for (next_ = std::max(next_, begin); next_ < end; ++next_) load_(n, next_, at(next_));
  }
  float* at(std::int64_t row) const { return memory_ + row % slots_ * size_; }

 private:
  float* memory_;
  std::int64_t slots_, size_, image_ = -1, next_ = 0;
  Load load_;
};

const float* zeros(std::int64_t channels) {
  float* const to = scratch<float>(Slot::columns, channels + 16);
  std::fill(to, to + channels + 16, 0.0f);
  return to;
}

}  // namespace

const char* depthwise_norm_declines(const Conv2dParams& p, const Shape& x, const Shape& w) {
  if (p.groups == 1 || p.groups != x[3]) return "not depthwise";
  if (w[3] != x[3]) return "several results per channel";
  if (p.dilation != Size2{1, 1}) return "dilation";
  if (w[0] > kMaxKernelRows) return "kernel higher than 16";
  if (p.stride.w > 8) return "stride above 8";
  return nullptr;
}

void depthwise_norm_forward(const ConvNormForward& job) {
  const Shapes s(job.in.x.shape, job.w.shape, job.y.shape);
  const Element from = element_of(job.in.x.dtype), element = element_of(job.y.dtype);
  const NormColumns norm = columns_of(job.in);
  const float* const w = job.w.ptr<float>();
  DepthwiseRow row;
  row.taps = s.kw;
  row.step = job.params.stride.w;
  row.first = -job.params.padding.left;
  row.width = s.w;
  row.bias = zeros(s.c);
  row.low = -kInfinity;
  row.high = kInfinity;
  row.count = s.wo;
  row.channels = row.in_pitch = row.out_pitch = row.weight_pitch = s.c;
  const int threads = parallel_chunk_count(s.n * s.ho, s.grain());
  ChannelSums sums(threads, s.c);
  const bool stream = streamed(job.y);
  parallel_for(s.n * s.ho, s.grain(), [&](std::int64_t begin, std::int64_t end, int thread) {
    const std::int64_t in_row = s.w * s.c, out_row = s.wo * s.c;
    float* const memory = scratch<float>(Slot::block_a, s.kh * in_row + out_row + 32);
    Ring ring(memory, s.kh, in_row, [&](std::int64_t n, std::int64_t i, float* to) {
      NormalizedRows load{element_at(job.in.x.data, (n * s.h + i) * in_row, from), from, s.w, s.c, norm};
      load.to = {to, Element::f32, s.c, s.c, 0};
      load_normalized(load);
    });
    DepthwiseRow r = row;
    for (std::int64_t at = begin; at < end; ++at) {
      const std::int64_t n = at / s.ho, top = at % s.ho * job.params.stride.h - job.params.padding.top;
      const std::int64_t low = std::clamp<std::int64_t>(top, 0, s.h),
                         high = std::clamp<std::int64_t>(top + s.kh, low, s.h);
      ring.need(n, low, high);
      r.rows = 0;
      for (std::int64_t i = low; i < high; ++i, ++r.rows) {
        r.in[r.rows] = ring.at(i);
        r.weights[r.rows] = w + (i - top) * s.kw * s.c;
      }
      float* const made = memory + s.kh * in_row;
      r.out = made;
      depthwise_row(r);
      if (job.mean && at == begin) sums.begin(thread, made, Element::f32, s.c, 0);
      const RowsOut out{made,    Element::f32, s.c,  element_at(job.y.data, at * out_row, element),
                        element, s.c,          s.wo, s.c,
                        stream};
      sum_rows({out, job.mean ? sums.pivot(thread) : nullptr, sums.first(thread), sums.second(thread)});
      sums.count(thread, s.wo);
    }
    if (stream) flush_streams();
  });
  if (job.mean) sums.moments(job.mean->ptr<float>(), job.variance->ptr<float>());
}

void depthwise_norm_backward(const ConvNormBackward& job) {
  const Shapes s(job.in.x.shape, job.w.shape, job.dy.g.shape);
  const Element element = element_of(job.dy.g.dtype), from = element_of(job.in.x.dtype);
  const NormColumns norm = columns_of(job.in);
  const std::int64_t sh = job.params.stride.h, sw = job.params.stride.w, top = job.params.padding.top,
                     left = job.params.padding.left;
  const float* const w = job.w.ptr<float>();
  // Pixels q, q+sw, … of a row of dx meet the kernel columns first_tap, first_tap + sw, …: packed for each phase,
  // reversed (as in simd_depthwise.cc).
  struct Phase {
    std::int64_t taps, first, offset;
  };
  std::vector<Phase> phases;
  float* const packed = scratch<float>(Slot::weights, s.kh * s.kw * s.c);
  std::int64_t filled = 0;
  for (std::int64_t q = 0; q < sw; ++q) {
    const std::int64_t first_tap = (q + left) % sw;
    const std::int64_t taps = first_tap < s.kw ? (s.kw - first_tap + sw - 1) / sw : 0;
    phases.push_back({taps, (q + left - first_tap) / sw - (taps - 1), filled});
    for (std::int64_t k = 0; k < s.kh; ++k) {
      for (std::int64_t t = 0; t < taps; ++t, filled += s.c)
        std::copy_n(w + (k * s.kw + first_tap + sw * (taps - 1 - t)) * s.c, s.c, packed + filled);
    }
  }
  const std::int64_t size = s.kh * s.kw * s.c;
  const float* const no_bias = zeros(s.c);
  const int threads = parallel_chunk_count(s.n * s.h, s.grain());
  ChannelSums sums(threads, norm.mean ? s.c : 0);
  const bool stream = job.dx && streamed(*job.dx);
  std::vector<std::vector<double>> dw(static_cast<std::size_t>(job.dw ? threads : 0));
  parallel_for(s.n * s.h, s.grain(), [&](std::int64_t begin, std::int64_t end, int thread) {
    const std::int64_t in_row = s.w * s.c, out_row = s.wo * s.c;
    float* const memory = scratch<float>(Slot::block_a, s.kh * out_row + 2 * in_row + size + 64);
    float *const z = memory + s.kh * out_row, *const made = z + in_row, *const acc = made + in_row;
    Ring ring(memory, s.kh, out_row, [&](std::int64_t n, std::int64_t o, float* to) {
      const std::int64_t at = (n * s.ho + o) * out_row;
      GradientRows load{element_at(job.dy.g.data, at, element),
                        element_at(job.dy.y.data, at, element),
                        element,
                        s.wo,
                        s.c,
                        job.dy.a.ptr<float>()};
      if (job.dy.b) {
        load.b = job.dy.b->ptr<float>();
        load.mean = job.dy.mean->ptr<float>();
        load.c = job.dy.c->ptr<float>();
      }
      load.to = {to, Element::f32, s.c, s.c, 0};
      load_gradient(load);
    });
    std::vector<double>* const total = job.dw ? &dw[static_cast<std::size_t>(thread)] : nullptr;
    if (total) {
      total->assign(static_cast<std::size_t>(size), 0.0);
      std::fill(acc, acc + size, 0.0f);
    }
    DepthwiseRow r;
    r.width = s.wo;
    r.bias = no_bias;
    r.low = -kInfinity;
    r.high = kInfinity;
    r.channels = r.in_pitch = r.weight_pitch = s.c;
    for (std::int64_t at = begin; at < end; ++at) {
      const std::int64_t n = at / s.h, row = at % s.h;
      // Result rows whose window holds this row: those o with 0 ≤ row + top − o·sh < kh.
      const std::int64_t reach = row + top - s.kh + 1;
      const std::int64_t low = std::min(s.ho, reach > 0 ? (reach + sh - 1) / sh : 0);
      const std::int64_t high = std::clamp<std::int64_t>((row + top) / sh + 1, low, s.ho);
      ring.need(n, low, high);
      const void* const x = element_at(job.in.x.data, at * in_row, from);
      if (total) {
        NormalizedRows load{x, from, s.w, s.c, norm};
        load.to = {z, Element::f32, s.c, s.c, 0};
        load_normalized(load);
        for (std::int64_t o = low; o < high; ++o) {
          depthwise_weight_row_f32(z, s.w, ring.at(o), s.wo, -left, sw, s.kw, s.c,
                                   acc + (row + top - o * sh) * s.kw * s.c);
        }
        // An image's sum, at most some ten thousand products, is kept in f32.
        if (at + 1 == end || row + 1 == s.h) {
          for (std::int64_t i = 0; i < size; ++i) (*total)[static_cast<std::size_t>(i)] += static_cast<double>(acc[i]);
          std::fill(acc, acc + size, 0.0f);
        }
      }
      if (!job.dx) continue;
      void* const dx = element_at(job.dx->data, at * in_row, from);
      for (std::int64_t q = 0; q < std::min(sw, s.w); ++q) {
        const Phase& phase = phases[static_cast<std::size_t>(q)];
        r.rows = 0;
        for (std::int64_t o = high - 1; o >= low && phase.taps > 0; --o) {
          r.in[r.rows] = ring.at(o);
          r.weights[r.rows++] = packed + phase.offset + (row + top - o * sh) * phase.taps * s.c;
        }
        r.taps = phase.taps;
        r.first = phase.first;
        r.out = made + q * s.c;
        r.out_pitch = sw * s.c;
        r.count = (s.w - q + sw - 1) / sw;
        depthwise_row(r);
      }
      const RowsOut out{made, Element::f32, s.c, dx, from, s.c, s.w, s.c, stream};
      if (!norm.mean) {
        sum_rows({out});
        continue;
      }
      MaskedRows mask;
      mask.g = out;
      mask.x = x;
      mask.x_stride = s.c;
      mask.norm = norm;
      mask.sum = sums.first(thread);
      mask.product = sums.second(thread);
      mask_rows(mask);
    }
    if (stream) flush_streams();
  });
  if (job.dw) {
    float* const to = job.dw->ptr<float>();
    for (std::int64_t i = 0; i < size; ++i) {
      double sum = 0;
      for (const std::vector<double>& part : dw) sum += part[static_cast<std::size_t>(i)];
      to[i] = static_cast<float>(sum);
    }
  }
  if (job.dx && norm.mean) sums.totals(job.dbeta->ptr<float>(), job.dscale->ptr<float>());
}

}  // namespace fovea::kernels::simd
