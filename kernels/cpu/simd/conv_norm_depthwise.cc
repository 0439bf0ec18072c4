// Depthwise convolutions with everything around them, some rows of an image at a time: they are read through the
// normalisation into a ring of rows in L2, panel by panel of 32 channels; then each panel's result rows are made with
// the rows below them in L1, and their sums taken before they leave it. Backward, one pass over the input's rows gives
// both gradients: the ring holds the rows of dy under them. Rows in the ring have the zeros beside the image with them,
// so that no tile is one at an edge. Arithmetic is f32, whatever the maps are kept in.
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "core/threads/parallel.h"
#include "kernels/cpu/simd/ahead.h"
#include "kernels/cpu/simd/common.h"
#include "kernels/cpu/simd/conv_norm.h"
#include "kernels/cpu/simd/depthwise_raw.h"

namespace fovea::kernels::simd {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr std::int64_t kPanel = 32;
constexpr std::int64_t kMostRows = 4;
/// An eighth of L2: there are up to three such rings, and what is asked for ahead.
std::int64_t ring_bytes() {
  static const std::int64_t bytes = std::clamp<std::int64_t>(sysconf(_SC_LEVEL2_CACHE_SIZE) / 8, 128 << 10, 256 << 10);
  return bytes;
}

struct Shapes {
  std::int64_t h, w, c, kh, kw, ho, wo, n, panels;
  Shapes(const Shape& x, const Shape& weights, const Shape& y)
      : h(x[1]),
        w(x[2]),
        c(x[3]),
        kh(weights[0]),
        kw(weights[1]),
        ho(y[1]),
        wo(y[2]),
        n(x[0]),
        panels((c + kPanel - 1) / kPanel) {}
  std::int64_t grain() const { return std::max<std::int64_t>(1, kGrain / std::max<std::int64_t>(1, wo * c * kh)); }
  std::int64_t width(std::int64_t panel) const { return std::min(kPanel, c - panel * kPanel); }
};

/// The rows of one image that were read last, in f32, [panel][pixel][32 channels]; row i lies in slot i mod `slots`.
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

}  // namespace

const char* depthwise_norm_declines(const Conv2dParams& p, const Shape& x, const Shape& w) {
  if (p.groups == 1 || p.groups != x[3]) return "not depthwise";
  if (w[3] != x[3]) return "several results per channel";
  if (p.dilation != Size2{1, 1}) return "dilation";
  if (w[0] > kMaxKernelRows) return "kernel higher than 16";
  if (p.stride.w > kMaxStep) return "stride above 8";
  return nullptr;
}

void depthwise_norm_forward(const ConvNormForward& job) {
  const Shapes s(job.in.x.shape, job.w.shape, job.y.shape);
  const Element from = element_of(job.in.x.dtype), element = element_of(job.y.dtype);
  const NormColumns norm = columns_of(job.in);
  const float* const w = job.w.ptr<float>();
  const std::int64_t sh = job.params.stride.h, in_row = s.w * s.c, out_row = s.wo * s.c, left = job.params.padding.left,
                     width = left + s.w + job.params.padding.right, ring_row = s.panels * width * kPanel;
  const std::int64_t group =
      std::clamp<std::int64_t>((ring_bytes() / 4 / ring_row - s.kh) / sh + 1, 1, std::min(kMostRows, s.ho));
  const std::int64_t slots = (group - 1) * sh + s.kh;
  DepthwiseRow row;
  row.taps = s.kw;
  row.step = job.params.stride.w;
  row.first = 0;
  row.width = width;
  row.low = -kInfinity;
  row.high = kInfinity;
  row.count = s.wo;
  row.bias = no_bias(kPanel);
  row.in_pitch = row.out_pitch = kPanel;
  row.weight_pitch = s.c;
  const int threads = parallel_chunk_count(s.n * s.ho, s.grain());
  ChannelSums sums(threads, s.c);
  const bool stream = streamed(job.y);
  parallel_for(s.n * s.ho, s.grain(), [&](std::int64_t begin, std::int64_t end, int thread) {
    float* const memory = scratch<float>(Slot::block_a, slots * ring_row + group * s.wo * kPanel);
    float* const made = memory + slots * ring_row;
    std::fill(memory, made, 0.0f);
    Ring ring(memory, slots, ring_row, [&](std::int64_t n, std::int64_t i, float* to) {
      NormalizedRows load{element_at(job.in.x.data, (n * s.h + i) * in_row, from), from, s.w, s.c, norm};
      load.to = {to + left * kPanel, Element::f32, kPanel, kPanel, width * kPanel};
      load_normalized(load);
    });
    const auto inside = [&](std::int64_t i) { return std::clamp<std::int64_t>(i, 0, s.h); };
    const void* in[kMaxKernelRows];
    const float* weights[kMaxKernelRows];
    DepthwiseRow r = row;
    r.in = in;
    r.weights = weights;
    Ahead ahead(s.panels * group);
    for (std::int64_t at = begin, rows; at < end; at += rows) {
      const std::int64_t n = at / s.ho, o = at % s.ho;
      rows = std::min({group, end - at, s.ho - o});
      const std::int64_t top = o * sh - job.params.padding.top;
      const std::int64_t last = inside(top + (rows - 1) * sh + s.kh);
      ring.need(n, inside(top), last);
      ahead.start();
      const std::int64_t more = std::min(rows * sh, s.h - last);
      if (more > 0)
        ahead.add(element_at(job.in.x.data, (n * s.h + last) * in_row, from), more * in_row * bytes_of(from));
      for (std::int64_t p = 0; p < s.panels; ++p) {
        r.channels = s.width(p);
        for (std::int64_t b = 0; b < rows; ++b) {
          ahead.step(1);
          r.rows = 0;
          for (std::int64_t i = inside(top + b * sh); i < inside(top + b * sh + s.kh); ++i, ++r.rows) {
            in[r.rows] = ring.at(i) + p * width * kPanel;
            weights[r.rows] = w + (i - top - b * sh) * s.kw * s.c + p * kPanel;
          }
          r.out = made + b * s.wo * kPanel;
          depthwise_row(r);
        }
        const std::int64_t c = p * kPanel;
        if (job.mean && at == begin) sums.begin(thread, made, Element::f32, r.channels, c);
        sum_rows({{made, Element::f32, kPanel, element_at(job.y.data, at * out_row + c, element), element, s.c,
                   rows * s.wo, r.channels, stream},
                  job.mean ? sums.pivot(thread) + c : nullptr,
                  sums.first(thread) + c,
                  sums.second(thread) + c});
      }
      sums.count(thread, rows * s.wo);
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
  DepthwisePhase phases[kMaxStep];
  float* const packed = scratch<float>(Slot::weights, s.kh * s.kw * s.c);
  pack_phases(w, s.kh, s.kw, s.c, sw, left, packed, phases);
  // Beside a row of dy as many zeros as a phase may reach; beside one of the input the padding.
  const std::int64_t beside = s.kw - 1, dy_width = beside + s.wo + beside,
                     z_width = left + s.w + job.params.padding.right;
  const std::int64_t in_row = s.w * s.c, out_row = s.wo * s.c, ring_row = s.panels * dy_width * kPanel;
  const std::int64_t group =
      std::clamp<std::int64_t>(ring_bytes() / 4 / (s.panels * s.w * kPanel), 1, std::min(kMostRows, s.h));
  const std::int64_t slots = (group + s.kh) / sh + 2;
  const std::int64_t kernel = s.kh * s.kw * kPanel, size = s.panels * kernel;  // of padded weights
  const float* const bias = no_bias(kPanel);
  const int threads = parallel_chunk_count(s.n * s.h, s.grain());
  ChannelSums sums(threads, norm.mean ? s.c : 0);
  const bool stream = job.dx && streamed(*job.dx);
  std::vector<std::vector<double>> dw(static_cast<std::size_t>(job.dw ? threads : 0));
  parallel_for(s.n * s.h, s.grain(), [&](std::int64_t begin, std::int64_t end, int thread) {
    const std::int64_t block = group * z_width * kPanel;
    float* const memory =
        scratch<float>(Slot::block_a, slots * ring_row + s.panels * block + group * s.w * kPanel + size);
    float *const z = memory + slots * ring_row, *const made = z + s.panels * block,
                 *const acc = made + group * s.w * kPanel;
    std::fill(memory, made, 0.0f);
    Ring ring(memory, slots, ring_row, [&](std::int64_t n, std::int64_t o, float* to) {
      GradientRows load = gradient_rows_of(job.dy, (n * s.ho + o) * s.wo, s.wo);
      load.to = {to + beside * kPanel, Element::f32, kPanel, kPanel, dy_width * kPanel};
      load_gradient(load);
    });
    std::vector<double>* const total = job.dw ? &dw[static_cast<std::size_t>(thread)] : nullptr;
    if (total) {
      total->assign(static_cast<std::size_t>(size), 0.0);
      std::fill(acc, acc + size, 0.0f);
    }
    // Result rows whose window holds input row i: those o with 0 ≤ i + top − o·sh < kh.
    const auto low_of = [&](std::int64_t i) {
      const std::int64_t reach = i + top - s.kh + 1;
      return std::min(s.ho, reach > 0 ? (reach + sh - 1) / sh : 0);
    };
    const auto high_of = [&](std::int64_t i) { return std::clamp<std::int64_t>((i + top) / sh + 1, low_of(i), s.ho); };
    const void* in[kMaxKernelRows];
    const float* taps[kMaxKernelRows];
    DepthwiseRow r;
    r.in = in;
    r.weights = taps;
    r.width = dy_width;
    r.bias = bias;
    r.low = -kInfinity;
    r.high = kInfinity;
    r.in_pitch = kPanel;
    r.weight_pitch = s.c;
    r.out_pitch = sw * kPanel;
    DepthwiseWeightRows weights;
    weights.count = s.wo;
    weights.step = sw;
    weights.taps = s.kw;
    weights.pitch = kPanel;
    Ahead ahead(s.panels * group * (job.dw && job.dx ? 2 : 1));
    for (std::int64_t at = begin, rows; at < end; at += rows) {
      const std::int64_t n = at / s.h, first = at % s.h;
      rows = std::min({group, end - at, s.h - first});
      const std::int64_t high = high_of(first + rows - 1);
      ring.need(n, low_of(first), high);
      ahead.start();
      if (const std::int64_t more = std::min((rows + sh - 1) / sh, s.ho - high); more > 0) {
        const std::int64_t next = (n * s.ho + high) * out_row, bytes = more * out_row * bytes_of(element);
        ahead.add(element_at(job.dy.g.data, next, element), bytes);
        if (job.dy.b) ahead.add(element_at(job.dy.y.data, next, element), bytes);
      }
      if (at + rows < end) {
        ahead.add(element_at(job.in.x.data, (at + rows) * in_row, from),
                  std::min(rows, end - at - rows) * in_row * bytes_of(from));
      }
      if (total) {  // all channels at once: the rows come from memory in one stream
        for (std::int64_t b = 0; b < rows; ++b) {
          NormalizedRows load{element_at(job.in.x.data, (at + b) * in_row, from), from, s.w, s.c, norm};
          load.to = {z + (b * z_width + left) * kPanel, Element::f32, kPanel, kPanel, block};
          load_normalized(load);
        }
      }
      for (std::int64_t p = 0; p < s.panels; ++p) {
        const std::int64_t c = p * kPanel, panel = p * dy_width * kPanel;
        const void* const x = element_at(job.in.x.data, at * in_row + c, from);
        const NormColumns columns =
            norm.mean ? NormColumns{norm.mean + c, norm.scale + c, norm.beta + c, norm.activation} : norm;
        r.channels = s.width(p);
        if (total) {
          for (std::int64_t b = 0; b < rows; ++b) {
            ahead.step(1);
            const std::int64_t i = first + b;
            weights.x = z + p * block + b * z_width * kPanel;
            weights.rows = 0;
            for (std::int64_t o = low_of(i); o < high_of(i); ++o, ++weights.rows) {
              weights.dy[weights.rows] = ring.at(o) + panel + beside * kPanel;
              weights.acc[weights.rows] = acc + p * kernel + (i + top - o * sh) * s.kw * kPanel;
            }
            depthwise_weight_rows_f32(weights);
          }
        }
        if (!job.dx) continue;
        for (std::int64_t b = 0; b < rows; ++b) {
          const std::int64_t i = first + b;
          ahead.step(1);
          for (std::int64_t q = 0; q < std::min(sw, s.w); ++q) {
            const DepthwisePhase& phase = phases[q];
            r.rows = 0;
            for (std::int64_t o = high_of(i) - 1; o >= low_of(i) && phase.taps > 0; --o) {
              in[r.rows] = ring.at(o) + panel;
              taps[r.rows++] = packed + phase.offset + (i + top - o * sh) * phase.taps * s.c + c;
            }
            r.taps = phase.taps;
            r.first = phase.first + beside;
            r.out = made + (b * s.w + q) * kPanel;
            r.count = (s.w - q + sw - 1) / sw;
            depthwise_row(r);
          }
        }
        const RowsOut out{made,       Element::f32, kPanel, element_at(job.dx->data, at * in_row + c, from), from, s.c,
                          rows * s.w, r.channels,   stream};
        if (!norm.mean) {
          sum_rows({out});
          continue;
        }
        MaskedRows mask;
        mask.g = out;
        mask.x = x;
        mask.x_stride = s.c;
        mask.norm = columns;
        mask.sum = sums.first(thread) + c;
        mask.product = sums.second(thread) + c;
        mask_rows(mask);
      }
      // An image's sum, at most some ten thousand products, is kept in f32.
      if (total && (at + rows == end || first + rows == s.h)) {
        for (std::int64_t i = 0; i < size; ++i) (*total)[static_cast<std::size_t>(i)] += static_cast<double>(acc[i]);
        std::fill(acc, acc + size, 0.0f);
      }
    }
    if (stream) flush_streams();
  });
  if (job.dw) {
    float* const to = job.dw->ptr<float>();
    for (std::int64_t t = 0; t < s.kh * s.kw; ++t) {
      for (std::int64_t c = 0; c < s.c; ++c) {
        double sum = 0;
        for (const std::vector<double>& part : dw)
          sum += part[static_cast<std::size_t>(c / kPanel * kernel + t * kPanel + c % kPanel)];
        to[t * s.c + c] = static_cast<float>(sum);
      }
    }
  }
  if (job.dx && norm.mean) sums.totals(job.dbeta->ptr<float>(), job.dscale->ptr<float>());
}

}  // namespace fovea::kernels::simd
