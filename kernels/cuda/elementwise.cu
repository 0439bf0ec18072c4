// Elementwise kernels: activations, broadcasting sums and products, affine, concatenation, dropout, and the layout
// changes around cuDNN. Bound by memory; each element is read and written once.
#include "core/error.h"
#include "kernels/check_internal.h"
#include "kernels/cuda/activation-inl.h"
#include "kernels/cuda/graph.h"
#include "kernels/cuda/half-inl.h"
#include "kernels/cuda/operands-inl.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/strides-inl.h"
#include "kernels/reference/elementwise.h"

namespace fovea::kernels::cuda {
namespace {

template <class S>
void run_activation_forward(const ActivationProblem& p) {
  using T = Computing<S>;
  const Read<S> x(p.x);
  S* const y = p.out.ptr<S>();
  const Activation kind = p.params.kind;
  const T alpha = static_cast<T>(p.params.alpha);
  for_each(
      "activation_forward", p.out.numel(),
      [=] FOVEA_LAMBDA(std::int64_t i) { y[i] = narrowed<S>(activate(kind, alpha, x[i])); }, p.out.device.index);
}

template <class S>
void run_activation_backward(const ActivationProblem& p) {
  using T = Computing<S>;
  const bool by_result = derivative_from_result(p.params.kind);
  const Read<S> operand(by_result ? p.y : p.x), dy(p.dy);
  S* const dx = p.out.ptr<S>();
  const Activation kind = p.params.kind;
  const T alpha = static_cast<T>(p.params.alpha);
  for_each(
      "activation_backward", p.out.numel(),
      [=] FOVEA_LAMBDA(std::int64_t i) {
        const T at = operand[i];
        dx[i] = narrowed<S>(dy[i] * (by_result ? derivative_by_result(kind, alpha, at) : derivative(kind, alpha, at)));
      },
      p.out.device.index);
}

template <class T>
FOVEA_HD T combine(Binary kind, T a, T b) {
  return kind == Binary::add ? a + b : kind == Binary::subtract ? a - b : a * b;
}

template <class S>
void run_binary(const BinaryProblem& p) {
  const Read<S> a(p.a), b(p.b);
  S* const y = p.y.ptr<S>();
  const Binary kind = p.kind;
  const int device = p.y.device.index;
  if (p.a.shape == p.b.shape) {
    for_each(
        "binary", p.y.numel(), [=] FOVEA_LAMBDA(std::int64_t i) { y[i] = narrowed<S>(combine(kind, a[i], b[i])); },
        device);
    return;
  }
  const Strides in_a = Strides::broadcast(p.y.shape, p.a.shape), in_b = Strides::broadcast(p.y.shape, p.b.shape);
  for_each(
      "binary (broadcast)", p.y.numel(),
      [=] FOVEA_LAMBDA(std::int64_t i) { y[i] = narrowed<S>(combine(kind, a[in_a.offset(i)], b[in_b.offset(i)])); },
      device);
}

template <class S>
void run_affine(const AffineProblem& p) {
  using T = Computing<S>;
  const Read<S> x(p.x);
  S* const y = p.y.ptr<S>();
  const T scale = static_cast<T>(p.scale), shift = static_cast<T>(p.shift);
  for_each(
      "affine", p.y.numel(), [=] FOVEA_LAMBDA(std::int64_t i) { y[i] = narrowed<S>(scale * x[i] + shift); },
      p.y.device.index);
}

/// Copies `rows` runs of `bytes`, `from_pitch` and `to_pitch` bytes apart, in words of type W.
template <class W>
void copy_rows(void* to, std::int64_t to_pitch, const void* from, std::int64_t from_pitch, std::int64_t bytes,
               std::int64_t rows, int device) {
  const std::int64_t words = bytes / static_cast<std::int64_t>(sizeof(W));
  const char* const source = static_cast<const char*>(from);
  char* const target = static_cast<char*>(to);
  for_each(
      "concat", rows * words,
      [=] FOVEA_LAMBDA(std::int64_t i) {
        const Divided at(i, words);
        reinterpret_cast<W*>(target + at.quotient * to_pitch)[at.rest] =
            reinterpret_cast<const W*>(source + at.quotient * from_pitch)[at.rest];
      },
      device);
}

template <class S>
void run_dropout_backward(const DropoutProblem& p) {
  using T = Computing<S>;
  const Read<S> dy(p.in);
  const std::uint8_t* const mask = p.mask.ptr<std::uint8_t>();
  S* const dx = p.out.ptr<S>();
  const T scale = static_cast<T>(reference::dropout_scale(p.rate));
  for_each(
      "dropout_backward", p.out.numel(),
      [=] FOVEA_LAMBDA(std::int64_t i) { dx[i] = narrowed<S>(mask[i] ? dy[i] * scale : T(0)); }, p.out.device.index);
}

/// A thread draws one block of the counter-based generator: two numbers, four elements of the whole batch, of which
/// this tensor's begin at `first`.
template <class S>
void run_dropout_forward(const DropoutProblem& p) {
  using T = Computing<S>;
  const Read<S> x(p.in);
  S* const y = p.out.ptr<S>();
  std::uint8_t* const mask = p.mask_out.ptr<std::uint8_t>();
  const std::int64_t first = p.first, end = first + p.out.numel(), block0 = first / 4;
  const T scale = static_cast<T>(reference::dropout_scale(p.rate));
  const std::uint64_t threshold = reference::DropoutBits::threshold(p.rate);
  const Rng rng = p.rng;
  const Recording* const recorded = recording(p.out.device.index);
  const std::uint64_t* const ahead = recorded ? recorded->ahead : nullptr;
  for_each(
      "dropout_forward", (end + 3) / 4 - block0,
      [=] FOVEA_LAMBDA(std::int64_t k) {
        const std::int64_t place = 4 * (block0 + k);
        Rng mine = ahead ? rng.ahead(*ahead) : rng;
        mine.skip(static_cast<std::uint64_t>(place / 2));
        std::uint64_t bits = 0;
        for (int j = 0; j < 4; ++j) {
          bits = j % 2 == 0 ? mine.next() : bits >> 32;
          const std::int64_t i = place + j - first;
          if (i < 0 || place + j >= end) continue;
          const bool keep = (bits & 0xffffffffu) >= threshold;
          mask[i] = keep;
          y[i] = narrowed<S>(keep ? x[i] * scale : T(0));
        }
      },
      p.out.device.index);
}

template <class S>
void run_accumulate(void* to, const void* from, std::int64_t count, int device) {
  S* const sum = static_cast<S*>(to);
  const S* const term = static_cast<const S*>(from);
  for_each(
      "accumulate", count,
      [=] FOVEA_LAMBDA(std::int64_t i) { sum[i] = narrowed<S>(widened(sum[i]) + widened(term[i])); }, device);
}

template <class From, class To>
void run_convert(const ConstView& from, void* to) {
  const Read<From> x(from);
  To* const y = static_cast<To*>(to);
  for_each(
      "convert", from.numel(),
      [=] FOVEA_LAMBDA(std::int64_t i) { y[i] = narrowed<To>(static_cast<Computing<To>>(x[i])); }, from.device.index);
}

template <class S>
void run_bias_activation(const OptionalView& bias, const ActivationParams& act, const View& out,
                         std::int64_t channels) {
  using T = Computing<S>;
  S* const y = out.ptr<S>();
  const T* const b = optional_ptr<T>(bias);
  const Activation kind = act.kind;
  const T alpha = static_cast<T>(act.alpha);
  for_each_rows(
      "bias_activation", out.numel() / channels, channels,
      [=] FOVEA_LAMBDA(std::int64_t c, std::int64_t at, int count) {
        const T add = b ? b[c] : T(0);
        T values[kRowsTogether];
        for (int k = 0; k < kRowsTogether; ++k) values[k] = k < count ? widened(y[at + k * channels]) : T(0);
        for (int k = 0; k < kRowsTogether; ++k) {
          if (k < count) y[at + k * channels] = narrowed<S>(activate(kind, alpha, b ? values[k] + add : values[k]));
        }
      },
      out.device.index);
}

/// Calls fn with a word of the element type's size: what only moves elements does not look at them. No bits set is 0.
template <class Fn>
void by_word(DType dtype, Fn&& fn) {
  switch (dtype_size(dtype)) {
    case 8: return fn(std::uint64_t{});
    case 4: return fn(std::uint32_t{});
    case 2: return fn(std::uint16_t{});
    default: return fn(std::uint8_t{});
  }
}

/// to[o, tap, i] and from[tap, i, o], or the other way round.
template <class W, bool kToOhwi>
void permute_weights(const void* from, void* to, std::int64_t taps, std::int64_t ci, std::int64_t co, int device) {
  const W* const in = static_cast<const W*>(from);
  W* const out = static_cast<W*>(to);
  for_each(
      "weights layout", taps * ci * co,
      [=] FOVEA_LAMBDA(std::int64_t k) {
        const Divided row(k, kToOhwi ? ci : co), at(row.quotient, kToOhwi ? taps : ci);
        if (kToOhwi) {  // k = (o·taps + tap)·ci + i
          out[k] = in[(at.rest * ci + row.rest) * co + at.quotient];
        } else {  // k = (tap·ci + i)·co + o
          out[k] = in[(row.rest * taps + at.quotient) * ci + at.rest];
        }
      },
      device);
}

template <class W>
void run_pad(const ConstView& x, void* padded, const Padding& pad) {
  const std::int64_t h = x.shape[1], w = x.shape[2], c = x.shape[3];
  const std::int64_t hp = h + pad.top + pad.bottom, wp = w + pad.left + pad.right;
  const int top = pad.top, left = pad.left;
  const W* const in = static_cast<const W*>(x.data);
  W* const out = static_cast<W*>(padded);
  for_each(
      "pad_image", x.shape[0] * hp * wp * c,
      [=] FOVEA_LAMBDA(std::int64_t k) {
        const Divided pixel(k, c), column(pixel.quotient, wp), row(column.quotient, hp);
        const std::int64_t r = row.rest - top, s = column.rest - left;
        const bool inside = r >= 0 && r < h && s >= 0 && s < w;
        out[k] = inside ? in[((row.quotient * h + r) * w + s) * c + pixel.rest] : W(0);
      },
      x.device.index);
}

template <class W>
void run_crop(const void* padded, const View& x, const Padding& pad) {
  const std::int64_t h = x.shape[1], w = x.shape[2], c = x.shape[3];
  const std::int64_t hp = h + pad.top + pad.bottom, wp = w + pad.left + pad.right;
  const int top = pad.top, left = pad.left;
  const W* const in = static_cast<const W*>(padded);
  W* const out = static_cast<W*>(x.data);
  for_each(
      "crop_image", x.numel(),
      [=] FOVEA_LAMBDA(std::int64_t k) {
        const Divided pixel(k, c), column(pixel.quotient, w), row(column.quotient, h);
        out[k] = in[((row.quotient * hp + row.rest + top) * wp + column.rest + left) * c + pixel.rest];
      },
      x.device.index);
}

}  // namespace

void activation_forward(const ActivationProblem& p) {
  by_storage(p.out.dtype, [&](auto t) { run_activation_forward<decltype(t)>(p); });
}
void activation_backward(const ActivationProblem& p) {
  by_storage(p.out.dtype, [&](auto t) { run_activation_backward<decltype(t)>(p); });
}
void binary(const BinaryProblem& p) {
  by_storage(p.y.dtype, [&](auto t) { run_binary<decltype(t)>(p); });
}
void affine(const AffineProblem& p) {
  by_storage(p.y.dtype, [&](auto t) { run_affine<decltype(t)>(p); });
}
void dropout_forward(const DropoutProblem& p) {
  by_storage(p.out.dtype, [&](auto t) { run_dropout_forward<decltype(t)>(p); });
}
void dropout_backward(const DropoutProblem& p) {
  by_storage(p.out.dtype, [&](auto t) { run_dropout_backward<decltype(t)>(p); });
}

void concat(const ConcatProblem& p) {
  const bool forward = p.pass == Pass::forward;
  const ConstView whole = forward ? ConstView(p.whole_out) : p.whole_in;
  const auto element = static_cast<std::int64_t>(dtype_size(whole.dtype));
  const std::int64_t whole_row = whole.shape[p.axis] * p.inner * element;
  std::int64_t at = 0;
  for (std::size_t k = 0; k < (forward ? p.parts_in.size() : p.parts_out.size()); ++k) {
    const ConstView part = forward ? p.parts_in[k] : ConstView(p.parts_out[k]);
    const std::int64_t row = part.shape[p.axis] * p.inner * element;
    if (row > 0) {
      const char* const slot = static_cast<const char*>(whole.data) + at;
      const void* const from = forward ? part.data : slot;
      void* const to = forward ? const_cast<char*>(slot) : p.parts_out[k].data;
      const std::int64_t from_pitch = forward ? row : whole_row, to_pitch = forward ? whole_row : row;
      // Rows of whole words, where every row starts at one.
      const auto whole_words = [&](std::int64_t size) {
        return row % size == 0 && whole_row % size == 0 && at % size == 0;
      };
      const int device = whole.device.index;
      if (whole_words(8)) {
        copy_rows<std::uint64_t>(to, to_pitch, from, from_pitch, row, p.outer, device);
      } else if (whole_words(4)) {
        copy_rows<std::uint32_t>(to, to_pitch, from, from_pitch, row, p.outer, device);
      } else if (whole_words(2)) {
        copy_rows<std::uint16_t>(to, to_pitch, from, from_pitch, row, p.outer, device);
      } else {
        copy_rows<std::uint8_t>(to, to_pitch, from, from_pitch, row, p.outer, device);
      }
    }
    at += row;
  }
}

void accumulate(void* to, const void* from, std::int64_t count, DType dtype, int device) {
  by_storage(dtype, [&](auto t) { run_accumulate<decltype(t)>(to, from, count, device); });
}
bool convert(const ConstView& from, void* to, DType dtype) {
  if (!is_floating(from.dtype) || !is_floating(dtype)) return false;
  by_storage(from.dtype,
             [&](auto t) { by_storage(dtype, [&](auto u) { run_convert<decltype(t), decltype(u)>(from, to); }); });
  return true;
}
void bias_activation(const OptionalView& bias, const ActivationParams& act, const View& y, std::int64_t channels) {
  if ((!bias && act.kind == Activation::none) || y.numel() == 0) return;
  by_storage(y.dtype, [&](auto t) { run_bias_activation<decltype(t)>(bias, act, y, channels); });
}
void weights_to_ohwi(const ConstView& hwio, void* ohwi, std::int64_t taps, std::int64_t ci, std::int64_t co) {
  by_word(hwio.dtype,
          [&](auto t) { permute_weights<decltype(t), true>(hwio.data, ohwi, taps, ci, co, hwio.device.index); });
}
void weights_to_hwio(const void* ohwi, const View& hwio, std::int64_t taps, std::int64_t ci, std::int64_t co) {
  by_word(hwio.dtype,
          [&](auto t) { permute_weights<decltype(t), false>(ohwi, hwio.data, taps, ci, co, hwio.device.index); });
}
void pad_image(const ConstView& x, void* padded, const Padding& pad) {
  by_word(x.dtype, [&](auto t) { run_pad<decltype(t)>(x, padded, pad); });
}
void crop_image(const void* padded, const View& x, const Padding& pad) {
  by_word(x.dtype, [&](auto t) { run_crop<decltype(t)>(padded, x, pad); });
}

}  // namespace fovea::kernels::cuda
