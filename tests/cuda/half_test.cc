// bf16 and f16: conversions to the bit, and every kernel that takes them against the reference in double on the same
// rounded operands. A result is rounded once, from what f32 computes.
#include "kernels/cuda/half-inl.h"

#include <bit>
#include <functional>

#include "core/autograd/tape.h"
#include "cuda/both.h"
#include "kernels/conv2d.h"
#include "kernels/cuda/cudnn_graph.h"
#include "kernels/dense.h"
#include "kernels/elementwise.h"
#include "kernels/norm.h"
#include "kernels/pool2d.h"
#include "layers/ops/conv_norm.h"
#ifdef FOVEA_CUDA_DOUBLE
#include "library_doubles.h"
#endif

using namespace fovea;
using namespace fovea::test;
using kernels::Activation;

namespace {

constexpr DType kHalves[] = {DType::bf16, DType::f16};

/// Half the distance between neighbours, as a share of a value.
double unit(DType dtype) { return dtype == DType::bf16 ? 0x1p-8 : dtype == DType::f16 ? 0x1p-11 : 0x1p-24; }

/// Empty where every element is within one rounding to the result's type, and `f32` of the largest, of what is
/// expected.
/// @param before what was rounded once before, where the call does so: it comes through an activation, whose slope is
/// at most 1.5 (hard_swish)
std::string rounded_once(const Tensor& result, const Tensor& expected, double f32, const Tensor& before = {}) {
  const std::vector<double> got = result.to(kCpu).to_vector<double>(), want = expected.to_vector<double>(),
                            first = before.defined() ? before.to_vector<double>() : std::vector<double>(want.size());
  double greatest = 0;
  for (const double w : want) greatest = std::fmax(greatest, std::fabs(w));
  for (std::size_t i = 0; i < want.size(); ++i) {
    const double allowed = unit(result.dtype()) * (std::fabs(want[i]) + 1.5 * std::fabs(first[i])) * 1.001 +
                           f32 * greatest + (result.dtype() == DType::f16 ? 0x1p-25 : 1e-38);
    if (std::isnan(want[i]) ? std::isnan(got[i]) : std::fabs(got[i] - want[i]) <= allowed) continue;
    return str("[", i, "] = ", got[i], ", expected ", want[i], " within ", allowed);
  }
  return "";
}

/// An operand: a map is rounded to half first, what belongs to maps stays f32.
struct In {
  Tensor tensor;
  bool map = true;
};
In parameter(Tensor t) { return {std::move(t), false}; }
TensorSpec map(const Shape& shape) { return {shape, DType::bf16}; }
TensorSpec vector(const Shape& shape) { return {shape, DType::f32}; }

/// call(in, out) in each half type on the GPU and in double by the reference.
/// @param before the values of result 0 that are rounded before bias and activation
template <class Call>
void agree_in_half(const std::vector<In>& in, const std::vector<TensorSpec>& out, Call&& call, double f32 = 2e-6,
                   const std::function<Tensor(const Tensors&)>& before = {}) {
  const Device device = gpu();
  for (const DType type : kHalves) {
    INFO("in " << to_string(type));
    Tensors there, exact, results, expected;
    for (const In& operand : in) {
      const Tensor& t = operand.tensor;
      if (!t.defined() || !is_floating(t.dtype())) {
        exact.push_back(t);
        there.push_back(t.defined() ? t.to(device) : t);
        continue;
      }
      const Tensor held = t.to(operand.map ? type : DType::f32);
      exact.push_back(held.to(DType::f64));
      there.push_back(held.to(device));
    }
    for (const TensorSpec& spec : out) {
      const bool floating = is_floating(spec.dtype);
      const double fill = floating ? std::nan("") : 111;
      expected.push_back(Tensor::full(spec.shape, fill, floating ? DType::f64 : spec.dtype));
      results.push_back(Tensor::full(spec.shape, fill, is_half(spec.dtype) ? type : spec.dtype).to(device));
    }
    {
      const kernels::ForceImplementation force("reference", true);
      call(exact, expected);
    }
    call(there, results);
    synchronize(device);
    for (std::size_t i = 0; i < out.size(); ++i) {
      INFO("result " << i);
      CHECK(rounded_once(results[i], expected[i], f32, before && i == 0 ? before(exact) : Tensor()) == "");
    }
  }
}

template <class T>
Tensor patterns() {
  Tensor t(Shape{65536}, dtype_of<T>);
  for (int i = 0; i < 65536; ++i) t.mutable_data<T>()[i].bits = static_cast<std::uint16_t>(i);
  return t;
}

/// Equal bits, but for NaN, of which any will do.
template <class T>
bool same(T a, T b) {
  return a.bits == b.bits || (std::isnan(static_cast<float>(a)) && std::isnan(static_cast<float>(b)));
}

template <class T>
void conversions() {
  const Tensor all = patterns<T>();
  const T* const held = all.data<T>();
  // What lies at, halfway to, and just beside halfway to every value's neighbours.
  std::vector<float> wide;
  for (int i = 0; i < 65536; ++i) {
    const auto x = static_cast<float>(held[i]);
    CHECK_FALSE(std::bit_cast<std::uint32_t>(kernels::cuda::widened(held[i])) != std::bit_cast<std::uint32_t>(x));
    wide.push_back(x);
    T next = held[i];
    ++next.bits;
    const auto y = static_cast<float>(next);
    if (!std::isfinite(x) || !std::isfinite(y)) continue;
    const auto middle = static_cast<float>((static_cast<double>(x) + static_cast<double>(y)) / 2);
    for (const float z : {middle, std::nextafter(middle, x), std::nextafter(middle, y)}) wide.push_back(z);
  }
  Rng rng(1, "half");
  for (int i = 0; i < 20000; ++i) wide.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(rng.next())));
  for (const float edge : {65504.0f, 65519.99f, 65520.0f, 3.3895314e38f, 3.3961776e38f, 3.4028235e38f, HUGE_VALF,
                           1e-45f, 2.98e-8f, 2.9802322e-8f, 2.99e-8f, -0.0f})
    wide.push_back(edge);
  int wrong = 0;
  for (const float x : wide) wrong += !same(kernels::cuda::narrowed<T>(x), T(x));
  CHECK(wrong == 0);

  // The same on the GPU, through Tensor::to.
  const Tensor device = all.to(gpu()), f32 = device.to(DType::f32), back = f32.to(dtype_of<T>);
  REQUIRE(f32.device() == gpu());
  const Tensor f32_here = f32.to(kCpu), back_here = back.to(kCpu), f64_here = device.to(DType::f64).to(kCpu);
  const Tensor many = Tensor::from(Shape{static_cast<std::int64_t>(wide.size())}, wide),
               narrow = many.to(gpu()).to(dtype_of<T>).to(kCpu);
  wrong = 0;
  for (int i = 0; i < 65536; ++i) {
    const auto x = static_cast<float>(held[i]), y = f32_here.data<float>()[i];
    wrong += !(x == y || (std::isnan(x) && std::isnan(y)));
#ifndef FOVEA_CUDA_DOUBLE
    if (std::isnan(x)) continue;  // a GPU's conversion gives it a sign of its own
#endif
    wrong += std::signbit(x) != std::signbit(y);
    const double z = f64_here.data<double>()[i];
    wrong += !(static_cast<double>(x) == z || (std::isnan(x) && std::isnan(z)));
    wrong += !same(held[i], back_here.data<T>()[i]);
  }
  for (std::size_t i = 0; i < wide.size(); ++i) wrong += !same(narrow.data<T>()[i], T(wide[i]));
  CHECK(wrong == 0);
}

}  // namespace

TEST_CASE("conversions between f32 and halves are core's, for every pattern", "[gpu]") {
  FOVEA_NEEDS_GPU();
  conversions<bf16>();
  conversions<f16>();
#ifdef FOVEA_CUDA_DOUBLE
  const std::int64_t copied = cuda_double::copied_bytes();
  const Tensor x(Shape{100}, DType::f32, gpu());
  CHECK(x.to(DType::f16).to(DType::bf16).device() == gpu());
  CHECK(cuda_double::copied_bytes() == copied);
#endif
}

TEST_CASE("halves: activations, sums, products, concatenation, dropout", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(2, "half");
  for (int k = 0; k <= static_cast<int>(Activation::tanh); ++k) {
    const kernels::ActivationParams params{static_cast<Activation>(k), 0.1};
    INFO(kernels::to_string(params.kind));
    const Shape shape{3, 5, 7};
    const Tensor x = random_tensor(shape, rng, -8, 8);
    agree_in_half({{x}}, {map(shape)}, [&](const Tensors& in, Tensors& out) {
      kernels::activation_forward(params, in[0].view(), out[0].mutable_view());
    });
    Tensor y(shape, DType::f64);
    kernels::activation_forward(params, x.view(), y.mutable_view());
    agree_in_half({{x}, {y}, {random_tensor(shape, rng)}}, {map(shape)}, [&](const Tensors& in, Tensors& out) {
      kernels::activation_backward(params, in[0].view(), in[1].view(), in[2].view(), out[0].mutable_view());
    });
  }
  const std::pair<Shape, Shape> shapes[] = {
      {{2, 3, 4}, {2, 3, 4}}, {{5, 6, 3, 7}, {5, 1, 1, 7}}, {{4, 1, 3}, {1, 5, 1}}};
  for (const auto& [a, b] : shapes) {
    const Shape whole = kernels::broadcast_shape("test", a, b);
    for (const auto kind : {kernels::Binary::add, kernels::Binary::subtract, kernels::Binary::multiply}) {
      agree_in_half({{random_tensor(a, rng)}, {random_tensor(b, rng)}}, {map(whole)},
                    [&](const Tensors& in, Tensors& out) {
                      kernels::binary(kind, in[0].view(), in[1].view(), out[0].mutable_view());
                    });
    }
    for (const Shape& part : {a, b}) {
      agree_in_half({{random_tensor(whole, rng)}}, {map(part)},
                    [&](const Tensors& in, Tensors& out) { kernels::reduce_to(in[0].view(), out[0].mutable_view()); });
    }
  }
  agree_in_half({{random_tensor({999}, rng)}}, {map({999})}, [&](const Tensors& in, Tensors& out) {
    kernels::affine(2.5, -0.75, in[0].view(), out[0].mutable_view());
  });
  for (const std::int64_t last : {1, 2, 3, 8}) {
    agree_in_half({{random_tensor({2, 3, last}, rng)}, {random_tensor({2, 3, 5}, rng)}}, {map({2, 3, last + 5})},
                  [&](const Tensors& in, Tensors& out) {
                    const ConstView parts[] = {in[0].view(), in[1].view()};
                    kernels::concat_forward(2, parts, out[0].mutable_view());
                  });
    agree_in_half({{random_tensor({2, 3, last + 5}, rng)}}, {map({2, 3, last}), map({2, 3, 5})},
                  [&](const Tensors& in, Tensors& out) {
                    const View parts[] = {out[0].mutable_view(), out[1].mutable_view()};
                    kernels::concat_backward(2, in[0].view(), parts);
                  });
  }
  for (const std::int64_t first : {0, 1, 2, 7, 40}) {  // where the tensor begins in the whole batch's stream
    const Shape shape{41};
    const Rng stream(9, "dropout", 3);
    agree_in_half(
        {{random_tensor(shape, rng)}}, {map(shape), {shape, DType::u8}}, [&](const Tensors& in, Tensors& out) {
          kernels::dropout_forward(0.3, stream, in[0].view(), out[0].mutable_view(), out[1].mutable_view(), first);
        });
    Tensor mask(shape, DType::u8);
    for (int i = 0; i < 41; ++i) mask.mutable_data<std::uint8_t>()[i] = i % 3 != 0;
    agree_in_half({{mask, false}, {random_tensor(shape, rng)}}, {map(shape)}, [&](const Tensors& in, Tensors& out) {
      kernels::dropout_backward(0.3, in[0].view(), in[1].view(), out[0].mutable_view());
    });
  }
}

TEST_CASE("halves: gradients are summed, and casts give them back", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(3, "half");
  for (const DType type : kHalves) {
    const Tensor a = random_tensor({77}, rng).to(type), b = random_tensor({77}, rng).to(type);
    Tensor sum = a.to(gpu()).clone();
    sum.accumulate(b.to(gpu()));
    const Tensor a64 = a.to(DType::f64);
    Tensor exact = a64.clone();
    exact.accumulate(b.to(DType::f64));
    CHECK(rounded_once(sum, exact, 1e-7) == "");
    Tensor x = random_tensor({50}, rng).to(DType::f32).to(gpu());
    x.set_requires_grad();
    Tape tape;
    const Tensor y = cast(x, type);
    CHECK(y.dtype() == type);
    CHECK(y.device() == gpu());
    const Tensor seed = random_tensor({50}, rng).to(type);
    tape.backward(y, seed.to(gpu()));
    CHECK(difference(x.grad(), seed.to(DType::f64)) == 0);
  }
}

TEST_CASE("halves: batch norm with f32 statistics", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(4, "half");
  for (const auto& shape : {Shape{4, 7, 5, 3}, Shape{70, 5, 5, 32}}) {
    const Shape c{shape.dim(-1)};
    for (const Activation act : {Activation::none, Activation::relu6, Activation::silu}) {
      INFO(str(shape, " ", kernels::to_string(act)));
      const kernels::BatchNormParams params{1e-3, {act, 0.1}};
      const Tensor x = random_tensor(shape, rng, -1, 3), dy = random_tensor(shape, rng),
                   gamma = random_tensor(c, rng, 0.5, 2), beta = random_tensor(c, rng),
                   mean = random_tensor(c, rng, 0.8, 1.2), variance = random_tensor(c, rng, 1, 2);
      agree_in_half({{x}, parameter(gamma), parameter(beta)}, {map(shape), vector(c), vector(c)},
                    [&](const Tensors& in, Tensors& out) {
                      kernels::batch_norm_training(params, in[0].view(), in[1].view(), in[2].view(),
                                                   out[0].mutable_view(), out[1].mutable_view(), out[2].mutable_view());
                    });
      agree_in_half({{x}, parameter(gamma), parameter(beta), parameter(mean), parameter(variance)}, {map(shape)},
                    [&](const Tensors& in, Tensors& out) {
                      kernels::batch_norm_inference(params, in[0].view(), in[1].view(), in[2].view(), in[3].view(),
                                                    in[4].view(), out[0].mutable_view());
                    });
      for (const bool training : {true, false}) {
        agree_in_half(
            {{x}, {dy}, parameter(gamma), parameter(beta), parameter(mean), parameter(variance)},
            {map(shape), vector(c), vector(c)},
            [&](const Tensors& in, Tensors& out) {
              const auto backward =
                  training ? kernels::batch_norm_training_backward : kernels::batch_norm_inference_backward;
              backward(params, in[0].view(), in[1].view(), in[2].view(), in[3].view(), in[4].view(), in[5].view(),
                       out[0].mutable_view(), out[1].mutable_view(), out[2].mutable_view());
            },
            5e-6);
      }
    }
  }
}

TEST_CASE("halves: what batch norm's gradient gets from other ranks' rows", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(8, "half");
  const Shape shape{3, 4, 5, 6}, c{6};
  const Tensor x = random_tensor(shape, rng, -1, 3), dx = random_tensor(shape, rng);
  agree_in_half({{x},
                 {dx},
                 parameter(random_tensor(c, rng, 0.5, 2)),
                 parameter(random_tensor(c, rng)),
                 parameter(random_tensor(c, rng, 1, 2)),
                 parameter(random_tensor({12}, rng, -9, 9))},
                {map(shape)}, [&](const Tensors& in, Tensors& out) {
                  kernels::affine(1, 0, in[1].view(), out[0].mutable_view());
                  kernels::batch_norm_parts_backward(1e-3, in[0].view(), in[2].view(), in[3].view(), in[4].view(),
                                                     in[5].view(), 77, out[0].mutable_view());
                });
}

TEST_CASE("halves: pooling", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(5, "half");
  const Shape shape{2, 9, 8, 5};
  for (const auto kind : {kernels::PoolKind::max, kernels::PoolKind::average}) {
    kernels::Pool2dParams params;
    params.kind = kind;
    params.window = {3, 3};
    params.stride = {2, 2};
    params.padding = Padding::same_both(1);
    const Shape y = kernels::pool2d_shape(params, shape);
    const bool max = kind == kernels::PoolKind::max;
    const Tensor x = random_tensor(shape, rng);
    // The winners of halves: ties are frequent among them.
    agree_in_half({{x}}, max ? std::vector<TensorSpec>{map(y), {y, DType::i32}} : std::vector<TensorSpec>{map(y)},
                  [&](const Tensors& in, Tensors& out) {
                    kernels::pool2d_forward(params, in[0].view(), out[0].mutable_view(),
                                            max ? std::optional(out[1].mutable_view()) : std::nullopt);
                  });
    Tensor argmax(y, DType::i32), pooled(y, DType::f64);
    if (max) kernels::pool2d_forward(params, x.view(), pooled.mutable_view(), argmax.mutable_view());
    agree_in_half({{random_tensor(y, rng)}, {argmax, false}}, {map(shape)}, [&](const Tensors& in, Tensors& out) {
      kernels::pool2d_backward(params, in[0].view(), max ? OptionalView(in[1].view()) : std::nullopt,
                               out[0].mutable_view());
    });
  }
  const Shape flat{2, 5}, grid{2, 4, 3, 5};
  agree_in_half({{random_tensor(shape, rng)}}, {map(flat), map(grid)}, [&](const Tensors& in, Tensors& out) {
    kernels::global_average_pool_forward(in[0].view(), out[0].mutable_view());
    kernels::adaptive_average_pool_forward(in[0].view(), out[1].mutable_view());
  });
  agree_in_half({{random_tensor(flat, rng)}, {random_tensor(grid, rng)}}, {map(shape), map(shape)},
                [&](const Tensors& in, Tensors& out) {
                  kernels::global_average_pool_backward(in[0].view(), out[0].mutable_view());
                  kernels::adaptive_average_pool_backward(in[1].view(), out[1].mutable_view());
                });
}

namespace {

void all_directions(const Shape& xs, const Shape& ws, const kernels::Conv2dParams& params, Rng& rng, Activation act,
                    std::string_view by) {
  INFO(str(xs, " ", ws, " ", kernels::to_string(act), " by ", by));
  const Shape ys = kernels::conv2d_shape(params, xs, ws), bs{ws[3]};
  const auto ran = [&](const Tensors& in) {
    if (in[0].device() != kCpu) CHECK(kernels::last_implementation() == by);
  };
  // Where bias and activation are not part of the library's call its result is rounded before them.
  const auto linear = [&](const Tensors& in) {
    Tensor y(ys, DType::f64);
    kernels::conv2d_forward(params, in[0].view(), in[1].view(), {}, y.mutable_view());
    return y;
  };
  const bool fused =
      by == "cuda:depthwise" || by == "cuda:direct" || (by == "cuda:cudnn" && act != Activation::hard_swish);
  agree_in_half(
      {{random_tensor(xs, rng)}, {random_tensor(ws, rng)}, parameter(random_tensor(bs, rng))}, {map(ys)},
      [&](const Tensors& in, Tensors& out) {
        kernels::conv2d_forward(params, in[0].view(), in[1].view(), in[2].view(), out[0].mutable_view(), {act, 0.1});
        ran(in);
      },
      2e-6, fused ? std::function<Tensor(const Tensors&)>() : linear);
  agree_in_half({{random_tensor(ys, rng)}, {random_tensor(ws, rng)}}, {map(xs)}, [&](const Tensors& in, Tensors& out) {
    kernels::conv2d_backward_data(params, in[0].view(), in[1].view(), out[0].mutable_view());
    ran(in);
  });
  agree_in_half({{random_tensor(xs, rng)}, {random_tensor(ys, rng)}}, {map(ws), vector(bs)},
                [&](const Tensors& in, Tensors& out) {
                  kernels::conv2d_backward_weights(params, in[0].view(), in[1].view(), out[0].mutable_view(),
                                                   out[1].mutable_view());
                  ran(in);
                });
}

}  // namespace

TEST_CASE("halves: convolutions by every implementation", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(6, "half");
  const Padding same = Padding::same_both(1);
  for (const Activation act : {Activation::none, Activation::relu, Activation::hard_swish}) {
    all_directions({2, 7, 6, 8}, {3, 3, 1, 8}, {.stride = {2, 2}, .padding = Padding::tf_same(), .groups = 8}, rng, act,
                   "cuda:depthwise");
    all_directions({2, 5, 6, 24}, {1, 1, 24, 7}, {}, rng, act, "cuda:gemm");
    all_directions({2, 7, 6, 8}, {3, 3, 8, 16}, {.stride = {2, 2}, .padding = Padding::tf_same()}, rng, act,
                   "cuda:cudnn");
    all_directions({1, 9, 8, 3}, {3, 3, 3, 5}, {.padding = same}, rng, act, "cuda:cudnn");
  }
  all_directions({1, 6, 7, 4}, {5, 5, 1, 4}, {.padding = Padding::same_both(2), .groups = 4}, rng, Activation::silu,
                 "cuda:depthwise");
#ifdef FOVEA_CUDA_DOUBLE
  CHECK(cuda_double::last_cudnn_engine() == "tensor cores");
  cuda_double::refuse_cudnn(true);
  kernels::cuda::clear_plan_cache(0);
  all_directions({2, 7, 6, 4}, {3, 3, 2, 6}, {.padding = same, .groups = 2}, rng, Activation::relu, "cuda:direct");
  cuda_double::refuse_cudnn(false);
  kernels::cuda::clear_plan_cache(0);
#endif
}

TEST_CASE("halves: dense layers and products", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(7, "half");
  const Shape xs{9, 33}, ws{33, 10}, ys{9, 10}, bs{10};
  agree_in_half(
      {{random_tensor(xs, rng)}, {random_tensor(ws, rng)}, parameter(random_tensor(bs, rng))}, {map(ys)},
      [&](const Tensors& in, Tensors& out) {
        kernels::dense_forward(in[0].view(), in[1].view(), in[2].view(), out[0].mutable_view(), {Activation::relu});
      },
      2e-6,
      [&](const Tensors& in) {
        Tensor y(ys, DType::f64);
        kernels::matmul(in[0].view(), false, in[1].view(), false, y.mutable_view());
        return y;
      });
  agree_in_half({{random_tensor(ys, rng)}, {random_tensor(ws, rng)}}, {map(xs)}, [&](const Tensors& in, Tensors& out) {
    kernels::dense_backward_data(in[0].view(), in[1].view(), out[0].mutable_view());
  });
  agree_in_half({{random_tensor(xs, rng)}, {random_tensor(ys, rng)}}, {map(ws), vector(bs)},
                [&](const Tensors& in, Tensors& out) {
                  kernels::dense_backward_weights(in[0].view(), in[1].view(), out[0].mutable_view(),
                                                  out[1].mutable_view());
                });
  agree_in_half({{random_tensor({6, 5}, rng)}, {random_tensor({4, 6}, rng)}}, {map({5, 4})},
                [&](const Tensors& in, Tensors& out) {
                  kernels::matmul(in[0].view(), true, in[1].view(), true, out[0].mutable_view());
                });
}

TEST_CASE("halves on the CPU, and where a kernel takes none, are errors that say so", "[gpu]") {
  FOVEA_NEEDS_GPU();
  const Tensor here(Shape{4}, DType::f16), there(Shape{2, 2}, DType::f16, gpu());
  Tensor y(Shape{4}, DType::f16), f32(Shape{4});
  const auto text = [](auto&& call) {
    try {
      call();
    } catch (const Error& e) {
      CHECK(e.kind() == ErrorKind::usage);
      return std::string(e.what());
    }
    return std::string("no error");
  };
  CHECK(text([&] {
          kernels::activation_forward({Activation::relu}, here.view(), y.mutable_view());
        }).find("computes in f32 or f64 on cpu, input is f16") != std::string::npos);
  CHECK(text([&] { kernels::binary(kernels::Binary::add, here.view(), f32.view(), y.mutable_view()); }) != "no error");
  Tensor z(Shape{2, 2}, DType::f16, gpu());
  CHECK(text([&] { kernels::softmax_forward(there.view(), z.mutable_view()); }).find("computes in f32 or f64") !=
        std::string::npos);
  const Tensor mixed(Shape{2, 2}, DType::bf16, gpu());
  CHECK(text([&] {
          kernels::binary(kernels::Binary::add, there.view(), mixed.view(), z.mutable_view());
        }).find("one element type") != std::string::npos);
}
