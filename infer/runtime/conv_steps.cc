// Convolution and dense steps: the planned kernels with their operands.
#include <algorithm>
#include <cmath>
#include <limits>

#include "core/threads/share.h"
#include "infer/runtime/steps_internal.h"
#include "kernels/cpu/simd/activation_raw.h"
#include "kernels/cpu/simd/conv2d_winograd.h"
#include "kernels/elementwise.h"

namespace fovea::infer::detail {

namespace simd = kernels::simd;
using kernels::Activation;
using kernels::ActivationParams;

namespace {

void set_sizes(simd::ConvSizes& to, const ConvGeometry& g) {
  const kernels::Padding& pad = g.params.padding;
  to = {g.x[0], g.x[1], g.x[2], g.x[3], g.y[1], g.y[2], g.y[3], pad.top, pad.left};
}

}  // namespace

Epilogue::Epilogue(ActivationParams a, Quantization out) : activation(a) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  clamp = a.kind == Activation::relu || a.kind == Activation::relu6;
  low = clamp ? 0.0f : -kInfinity;
  high = a.kind == Activation::relu6 ? 6.0f : kInfinity;
  after = !clamp && a.kind != Activation::none;
  if (out.scale <= 0 || !clamp) return;
  const auto zero = static_cast<float>(out.zero);
  low = low / out.scale + zero;
  high = high / out.scale + zero;
  clamp = low > 0 || high < 255;
}

ConvPart::ConvPart(const ConvGeometry& g, const Tensor& weights, const Tensor& padded, ActivationParams activation,
                   simd::Element source, simd::Element in, simd::Element out, const Int8& int8)
    : packed(weights), bias(padded), scale(int8.scale), epilogue(activation, int8.out) {
  set_sizes(conv, g);
  conv.kh = g.kh;
  conv.kw = g.kw;
  conv.stride = g.params.stride;
  conv.dilation = g.params.dilation;
  conv.source = source;
  conv.in = in;
  conv.out = out;
  conv.packed = packed.view().data;
  conv.bias = bias.data<float>();
  if (int8.rounded.piece_scale > 0) {
    rounded = std::make_shared<simd::RoundedActivation>(int8.rounded);
    conv.rounded = rounded.get();
    epilogue.after = false;
  }
  if (in == simd::Element::u8) {
    conv.scale = scale.data<float>();
    conv.residual_scale = int8.residual_scale;
    conv.source_inverse_scale = 1.0f / int8.in.scale;
    conv.zero = static_cast<std::uint8_t>(int8.in.zero);
  }
  conv.clamp = epilogue.clamp;
  conv.low = epilogue.low;
  conv.high = epilogue.high;
  if (epilogue.after) conv.after = activation;
}

DepthwisePart::DepthwisePart(const ConvGeometry& g, const Tensor& filters, const Tensor& padded,
                             ActivationParams activation, simd::Element element, const Int8& int8)
    : weights(filters),
      bias(padded),
      scale(int8.scale),
      epilogue(activation, int8.out),
      n(g.x[0]),
      h(g.x[1]),
      ho(g.y[1]),
      kh(g.kh),
      top(g.params.padding.top),
      stride(g.params.stride.h) {
  row.element = element;
  row.taps = g.kw;
  row.step = g.params.stride.w;
  row.first = -g.params.padding.left;
  row.width = g.x[2];
  row.bias = bias.data<float>();
  row.low = epilogue.low;
  row.high = epilogue.high;
  row.count = g.y[2];
  row.channels = g.x[3];
  if (weights.dtype() == DType::f32) filters_ = weights.data<float>();
  if (element == simd::Element::u8) set_u8(g, int8);
  if (weights.dtype() != DType::bf16) return;
  row_bf16.size = kh;
  row_bf16.step = row.step;
  row_bf16.first = row.first;
  row_bf16.width = row.width;
  row_bf16.packed = static_cast<const std::uint16_t*>(weights.view().data);
  row_bf16.bias = row.bias;
  row_bf16.low = row.low;
  row_bf16.high = row.high;
  row_bf16.count = row.count;
  row_bf16.channels = row.channels;
}

void DepthwisePart::set_u8(const ConvGeometry& g, const Int8& int8) {
  simd::DepthwiseRowU8& r = row_u8;
  outside = Tensor({64}, DType::u8);
  std::fill_n(outside.mutable_data<std::uint8_t>(), 64, static_cast<std::uint8_t>(int8.in.zero));
  r.size = kh;
  r.step = row.step;
  r.first = row.first;
  r.width = row.width;
  r.packed = weights.data<std::int8_t>();
  r.scale = scale.data<float>();
  r.bias = bias.data<float>();
  r.outside = outside.data<std::uint8_t>();
  if (int8.rounded.piece_scale > 0) {
    rounded = std::make_shared<simd::RoundedActivation>(int8.rounded);
    r.rounded = rounded.get();
  }
  if (epilogue.clamp) {
    r.low = static_cast<std::uint8_t>(std::clamp(std::nearbyint(epilogue.low), 0.0f, 255.0f));
    r.high = static_cast<std::uint8_t>(std::clamp(std::nearbyint(epilogue.high), 0.0f, 255.0f));
  }
  r.count = g.y[2];
  r.channels = g.x[3];
}

namespace {

/// Calls f(k, offset) for each of the kernel's rows of result row i that lies inside the image, `offset` values behind
/// x.base.
template <class F>
void each_row(const DepthwisePart& part, const DepthwisePart::Rows& x, std::int64_t i, F f) {
  const std::int64_t first = i * part.stride - part.top, row = part.row.width * x.pitch;
  std::int64_t k = std::max<std::int64_t>(0, -first), slot = first + k;
  if (slot >= x.ring) slot %= x.ring;
  for (; k < std::min(part.kh, part.h - first); ++k) {
    f(k, slot * row);
    if (++slot == x.ring) slot = 0;
  }
}

/// Of packed weights, those of the channels from `begin` on.
template <class Row, class T>
void set_channels(Row& r, const T* packed_begin, std::int64_t begin, std::int64_t end, void* y, std::int64_t y_pitch) {
  r.packed = packed_begin;
  r.bias += begin;
  r.channels = end - begin;
  r.out = static_cast<decltype(r.out)>(y);
  r.out_pitch = y_pitch;
}

}  // namespace

void DepthwisePart::run_row(const Rows& x, std::int64_t i, std::int64_t begin, std::int64_t end, void* y,
                            std::int64_t y_pitch) const {
  if (row.element == simd::Element::u8) {
    const std::uint8_t* in[simd::kMaxKernelRows] = {};
    each_row(*this, x, i,
             [&](std::int64_t k, std::int64_t offset) { in[k] = static_cast<const std::uint8_t*>(x.base) + offset; });
    simd::DepthwiseRowU8 r = row_u8;
    r.in = in;
    r.in_pitch = x.pitch;
    set_channels(r, r.packed + simd::depthwise_int8_bytes(kh, begin), begin, end, y, y_pitch);
    r.scale += begin;
    return simd::depthwise_row(r);
  }
  if (row_bf16.packed) {
    const std::uint16_t* in[simd::kMaxKernelRows] = {};
    each_row(*this, x, i,
             [&](std::int64_t k, std::int64_t offset) { in[k] = static_cast<const std::uint16_t*>(x.base) + offset; });
    simd::DepthwiseRowBf16 r = row_bf16;
    r.in = in;
    r.in_pitch = x.pitch;
    set_channels(r, r.packed + simd::depthwise_bf16_count(kh, begin), begin, end, y, y_pitch);
    simd::depthwise_row(r);
  } else {
    const void* in[simd::kMaxKernelRows];
    const float* taps[simd::kMaxKernelRows];
    simd::DepthwiseRow r = row;
    r.in = in;
    r.weights = taps;
    r.rows = 0;
    each_row(*this, x, i, [&](std::int64_t k, std::int64_t offset) {
      in[r.rows] = simd::element_at(x.base, offset, row.element);
      taps[r.rows++] = filters_ + k * row.taps * row.channels + begin;
    });
    r.bias += begin;
    r.channels = end - begin;
    r.in_pitch = x.pitch;
    r.out_pitch = y_pitch;
    r.weight_pitch = row.channels;
    r.out = y;
    simd::depthwise_row(r);
  }
  if (epilogue.after) simd::activation_rows(epilogue.activation, y, row.element, y_pitch, row.count, end - begin);
}

namespace {

class ConvStep final : public Step {
 public:
  ConvStep(ConvPart part, Places places) : part_(std::move(part)), places_(places) {
    part_.conv.y_pitch = places_.out_pitch;
    info.kernel = part_.conv.pointwise() ? "simd:pointwise" : "simd:direct";
  }
  void run(Pointers at) const override {
    simd::planned_conv(part_.conv, place(at, places_.in), place(at, places_.residual),
                       result_place(at, places_, part_.conv.out));
  }

 private:
  ConvPart part_;
  Places places_;
};

class GatedConvStep final : public Step {
 public:
  GatedConvStep(ConvPart part, Places places, int gate, int scaled)
      : part_(std::move(part)), places_(places), gate_(gate), scaled_(scaled) {
    part_.conv.y_pitch = places_.out_pitch;
    info.kernel = "simd:gated";
  }
  void run(Pointers at) const override {
    simd::PlannedConv conv = part_.conv;
    const auto* const gate = static_cast<const float*>(place(at, gate_));
    auto* const scaled = static_cast<float*>(place(at, scaled_));
    const std::int64_t panel = conv.ci * simd::panel_width();
    parallel_for(simd::panel_count(conv.co), std::max<std::int64_t>(1, kScaledPerThread / panel),
                 [&](std::int64_t begin, std::int64_t end) {
                   simd::scale_planned(part_.packed.data<float>(), conv.ci, conv.co, gate, begin, end, scaled);
                 });
    conv.packed = scaled;
    simd::planned_conv(conv, place(at, places_.in), place(at, places_.residual), result_place(at, places_, conv.out));
  }

 private:
  static constexpr std::int64_t kScaledPerThread = 8 << 10;  ///< values, 1 µs
  ConvPart part_;
  Places places_;
  int gate_, scaled_;
};

class DepthwiseStep final : public Step {
 public:
  DepthwiseStep(DepthwisePart part, Places places) : part_(std::move(part)), places_(places) {
    info.kernel = "simd:depthwise";
  }
  void run(Pointers at) const override {
    const void* const x = place(at, places_.in);
    void* const y = place(at, places_.out);
    const simd::Element e = part_.row.element;
    const std::int64_t channels = part_.row.channels;
    const std::int64_t in_map = part_.h * part_.row.width * channels, out_row = part_.row.count * channels;
    // Multiply-adds that pay for another thread.
    const std::int64_t row_work = std::max<std::int64_t>(1, out_row * part_.kh * part_.row.taps);
    const ShareSizes sizes{.count = part_.n * part_.ho, .grain = std::max<std::int64_t>(1, 50'000 / row_work)};
    parallel_shares(sizes, [&](Share& share) {
      while (share.take(part_.ho)) {
        for (std::int64_t i = share.begin(); i < share.end(); ++i) {
          const DepthwisePart::Rows rows{simd::element_at(x, i / part_.ho * in_map, e), part_.h, channels};
          part_.run_row(rows, i % part_.ho, 0, channels, simd::element_at(y, i * out_row, e), channels);
        }
      }
    });
  }

 private:
  DepthwisePart part_;
  Places places_;
};

class WinogradStep final : public Step {
 public:
  WinogradStep(const ConvGeometry& g, const Tensor& packed, const Tensor& bias, ActivationParams activation,
               Places places)
      : packed_(packed), bias_(bias), zeros_(Tensor::zeros({g.x[3]})), epilogue_(activation), places_(places), y_(g.y) {
    set_sizes(conv_, g);
    conv_.packed = packed_.data<float>();
    conv_.bias = bias_.data<float>();
    conv_.zeros = zeros_.data<float>();
    conv_.clamp = epilogue_.clamp && places_.residual < 0;
    conv_.high = epilogue_.high;
    info.kernel = "simd:winograd";
  }
  void run(Pointers at) const override {
    auto* const y = static_cast<float*>(place(at, places_.out));
    simd::planned_winograd(conv_, static_cast<const float*>(place(at, places_.in)), y);
    View out;
    out.data = y;
    out.shape = y_;
    if (places_.residual >= 0) {
      ConstView residual;
      residual.data = place(at, places_.residual);
      residual.shape = y_;
      kernels::binary(kernels::Binary::add, out, residual, out);
    }
    if (epilogue_.after || (epilogue_.clamp && !conv_.clamp))
      kernels::activation_forward(epilogue_.activation, out, out);
  }

 private:
  Tensor packed_, bias_, zeros_;
  Epilogue epilogue_;
  Places places_;
  Shape y_;
  simd::PlannedWinograd conv_;
};

class AverageStep final : public Step {
 public:
  AverageStep(const Shape& x, simd::Element in, simd::Element out, Quantization x_scale, Quantization y_scale,
              Places places)
      : x_(x), in_(in), out_(out), places_(places) {
    const double from = in == simd::Element::u8 ? static_cast<double>(x_scale.scale) : 1.0;
    const double to = out == simd::Element::u8 ? static_cast<double>(y_scale.scale) : 1.0;
    scale_ = static_cast<float>(from / (static_cast<double>(x[1] * x[2]) * to));
    bias_ = static_cast<float>((out == simd::Element::u8 ? y_scale.zero : 0) -
                               (in == simd::Element::u8 ? x_scale.zero : 0) * from / to);
    info.kernel = "simd:average";
  }
  void run(Pointers at) const override {
    const void* const x = place(at, places_.in);
    void* const y = place(at, places_.out);
    const std::int64_t pixels = x_[1] * x_[2], channels = x_[3];
    parallel_for(x_[0], 1 + 100'000 / (pixels * channels + 1), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        simd::average_pixels(simd::element_at(x, i * pixels * channels, in_), in_, pixels, channels, scale_, bias_,
                             simd::element_at(y, i * channels, out_), out_);
      }
    });
  }

 private:
  Shape x_;
  simd::Element in_, out_;
  Places places_;
  float scale_ = 0, bias_ = 0;
};

class GateStep final : public Step {
 public:
  GateStep(const Shape& x, Quantization x_scale, Quantization y_scale, Places places, int gate)
      : x_(x), places_(places), gate_(gate) {
    scale_ = x_scale.scale / y_scale.scale;
    zero_ = static_cast<float>(x_scale.zero);
    bias_ = static_cast<float>(y_scale.zero);
    info.kernel = "simd:gate";
  }
  void run(Pointers at) const override {
    const auto* const x = static_cast<const std::uint8_t*>(place(at, places_.in));
    auto* const y = static_cast<std::uint8_t*>(place(at, places_.out));
    const auto* const gate = static_cast<const float*>(place(at, gate_));
    const std::int64_t pixels = x_[1] * x_[2], channels = x_[3];
    parallel_for(x_[0] * pixels, 1 + 100'000 / channels, [&](std::int64_t begin, std::int64_t end) {
      while (begin < end) {
        const std::int64_t image = begin / pixels, stop = std::min(end, (image + 1) * pixels);
        simd::gate_pixels(x + begin * channels, gate + image * channels, stop - begin, channels, scale_, zero_, bias_,
                          y + begin * channels);
        begin = stop;
      }
    });
  }

 private:
  Shape x_;
  Places places_;
  int gate_;
  float scale_, zero_, bias_;
};

class KernelStep final : public Step {
 public:
  explicit KernelStep(std::function<void(Pointers)> run) : run_(std::move(run)) { info.kernel = "library"; }
  void run(Pointers at) const override { run_(at); }

 private:
  std::function<void(Pointers)> run_;
};

}  // namespace

std::unique_ptr<Step> conv_step(ConvPart part, Places places) {
  return std::make_unique<ConvStep>(std::move(part), places);
}

std::unique_ptr<Step> winograd_step(const ConvGeometry& geometry, const Tensor& packed, const Tensor& bias,
                                    ActivationParams activation, Places places) {
  return std::make_unique<WinogradStep>(geometry, packed, bias, activation, places);
}

std::unique_ptr<Step> depthwise_step(DepthwisePart part, Places places) {
  return std::make_unique<DepthwiseStep>(std::move(part), places);
}

std::unique_ptr<Step> gated_conv_step(ConvPart part, Places places, int gate, int scaled) {
  return std::make_unique<GatedConvStep>(std::move(part), places, gate, scaled);
}

std::unique_ptr<Step> average_step(const Shape& x, simd::Element in, simd::Element out, Quantization x_scale,
                                   Quantization y_scale, Places places) {
  return std::make_unique<AverageStep>(x, in, out, x_scale, y_scale, places);
}

std::unique_ptr<Step> gate_step(const Shape& x, Quantization x_scale, Quantization y_scale, Places places, int gate) {
  return std::make_unique<GateStep>(x, x_scale, y_scale, places, gate);
}

std::unique_ptr<Step> kernel_step(std::function<void(Pointers)> run) {
  return std::make_unique<KernelStep>(std::move(run));
}

}  // namespace fovea::infer::detail
