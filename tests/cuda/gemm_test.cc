// Products by cuBLAS: matmul, dense layers and 1×1 convolutions in all directions.
#include <thread>

#include "against_reference.h"
#include "kernels/conv2d.h"
#include "kernels/cuda/library_handles.h"
#include "kernels/dense.h"

using namespace fovea;
using namespace fovea::kernels;
using namespace fovea::test;

namespace {

constexpr std::int64_t kExtents[] = {1, 2, 3, 7, 16, 31, 64, 127};

/// The reference sums in double, too: for f64 both sides err.
double allowed(DType dtype) { return dtype == DType::f64 ? 8 : kC; }

struct Product {
  std::int64_t m, n, k;
  bool ta, tb, accumulate;
  DType dtype;
};

std::string compare(const Product& p, Rng& rng) {
  const Tensor a = random_tensor(p.ta ? Shape{p.k, p.m} : Shape{p.m, p.k}, p.dtype, rng);
  const Tensor b = random_tensor(p.tb ? Shape{p.n, p.k} : Shape{p.k, p.n}, p.dtype, rng);
  const Tensor c = random_tensor({p.m, p.n}, p.dtype, rng);
  Tensor result = p.accumulate ? c.to(gpu()) : poisoned({p.m, p.n}, p.dtype);
  matmul(misaligned(a).view(), p.ta, b.to(gpu()).view(), p.tb, result.mutable_view(), p.accumulate);
  const ForceImplementation reference("reference", true);
  const auto run = [&](const Tensor& x, const Tensor& y, const Tensor& start) {
    Tensor z = start.clone();
    matmul(x.view(), p.ta, y.view(), p.tb, z.mutable_view(), p.accumulate);
    return z;
  };
  const Tensor a64 = a.to(DType::f64), b64 = b.to(DType::f64), c64 = c.to(DType::f64);
  return difference(result, run(a64, b64, c64), run(absolute(a64), absolute(b64), absolute(c64)), allowed(p.dtype));
}

/// One layer in its three directions; `Run` makes dense or convolution calls of it.
struct Layer {
  std::function<void(const Tensor& x, const Tensor& w, const OptionalView& bias, Tensor& y, ActivationParams)> forward;
  std::function<void(const Tensor& dy, const Tensor& w, Tensor& dx)> backward_data;
  std::function<void(const Tensor& x, const Tensor& dy, Tensor& dw, Tensor* dbias)> backward_weights;
};

void compare(const Layer& layer, const Shape& xs, const Shape& ws, const Shape& ys, bool with_bias,
             ActivationParams act, DType dtype, Rng& rng) {
  const Tensor x = random_tensor(xs, dtype, rng), w = random_tensor(ws, dtype, rng), dy = random_tensor(ys, dtype, rng),
               bias = random_tensor({ws.dim(-1)}, dtype, rng);
  const auto optional = [&](const Tensor& t) { return with_bias ? OptionalView(t.view()) : std::nullopt; };
  Tensor y = poisoned(ys, dtype), dx = poisoned(xs, dtype), dw = poisoned(ws, dtype),
         db = poisoned(bias.shape(), dtype);
  {
    const Tensor gx = misaligned(x), gw = w.to(gpu()), gdy = dy.to(gpu()), gb = bias.to(gpu());
#ifdef FOVEA_CUDA_DOUBLE
    const std::int64_t copied = cuda_double::copied_bytes();
#endif
    layer.forward(gx, gw, optional(gb), y, act);
    layer.backward_data(gdy, gw, dx);
    layer.backward_weights(gx, gdy, dw, with_bias ? &db : nullptr);
#ifdef FOVEA_CUDA_DOUBLE
    CHECK(cuda_double::copied_bytes() == copied);
#endif
  }
  const ForceImplementation reference("reference", true);
  const Tensor x64 = x.to(DType::f64), w64 = w.to(DType::f64), dy64 = dy.to(DType::f64), b64 = bias.to(DType::f64);
  const Tensor xa = absolute(x64), wa = absolute(w64), dya = absolute(dy64), ba = absolute(b64);
  Tensor want(ys, DType::f64), scale(ys, DType::f64);
  layer.forward(x64, w64, optional(b64), want, act);
  layer.forward(xa, wa, optional(ba), scale, {Activation::none});
  if (act.kind != Activation::none) scale = behind_activation(scale, want);
  CHECK(difference(y, want, scale, allowed(dtype)) == "");
  want = Tensor(xs, DType::f64), scale = Tensor(xs, DType::f64);
  layer.backward_data(dy64, w64, want);
  layer.backward_data(dya, wa, scale);
  CHECK(difference(dx, want, scale, allowed(dtype)) == "");
  want = Tensor(ws, DType::f64), scale = Tensor(ws, DType::f64);
  Tensor want_bias(bias.shape(), DType::f64), scale_bias(bias.shape(), DType::f64);
  layer.backward_weights(x64, dy64, want, &want_bias);
  layer.backward_weights(xa, dya, scale, &scale_bias);
  CHECK(difference(dw, want, scale, allowed(dtype)) == "");
  if (with_bias) CHECK(difference(db, want_bias, scale_bias, allowed(dtype)) == "");
}

const Layer kDense{
    [](const Tensor& x, const Tensor& w, const OptionalView& bias, Tensor& y, ActivationParams act) {
      dense_forward(x.view(), w.view(), bias, y.mutable_view(), act);
    },
    [](const Tensor& dy, const Tensor& w, Tensor& dx) { dense_backward_data(dy.view(), w.view(), dx.mutable_view()); },
    [](const Tensor& x, const Tensor& dy, Tensor& dw, Tensor* dbias) {
      dense_backward_weights(x.view(), dy.view(), dw.mutable_view(),
                             dbias ? std::optional(dbias->mutable_view()) : std::nullopt);
    }};

const Layer kPointwise{[](const Tensor& x, const Tensor& w, const OptionalView& bias, Tensor& y, ActivationParams act) {
                         conv2d_forward({}, x.view(), w.view(), bias, y.mutable_view(), act);
                       },
                       [](const Tensor& dy, const Tensor& w, Tensor& dx) {
                         conv2d_backward_data({}, dy.view(), w.view(), dx.mutable_view());
                       },
                       [](const Tensor& x, const Tensor& dy, Tensor& dw, Tensor* dbias) {
                         conv2d_backward_weights({}, x.view(), dy.view(), dw.mutable_view(),
                                                 dbias ? std::optional(dbias->mutable_view()) : std::nullopt);
                       }};

}  // namespace

TEST_CASE("matmul on the GPU equals the reference", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(3, "cuda matmul");
  for (int i = 0; i < 48; ++i) {
    const Product p{pick(rng, kExtents),
                    pick(rng, kExtents),
                    pick(rng, kExtents),
                    (i & 1) != 0,
                    (i & 2) != 0,
                    (i & 4) != 0,
                    i % 3 == 0 ? DType::f64 : DType::f32};
    INFO("m " << p.m << " n " << p.n << " k " << p.k << " transposed " << p.ta << p.tb << " accumulate " << p.accumulate
              << " f64 " << (p.dtype == DType::f64));
    CHECK(compare(p, rng) == "");
  }
}

TEST_CASE("dense layers on the GPU equal the reference", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(4, "cuda dense");
  for (int i = 0; i < 24; ++i) {
    const std::int64_t m = pick(rng, kExtents), k = pick(rng, kExtents), n = pick(rng, kExtents);
    const ActivationParams act{kActivations[static_cast<std::size_t>(i) % std::size(kActivations)], 0.1};
    INFO("m " << m << " k " << k << " n " << n << " " << to_string(act.kind));
    compare(kDense, {m, k}, {k, n}, {m, n}, i % 2 == 0, act, i % 4 == 3 ? DType::f64 : DType::f32, rng);
  }
}

TEST_CASE("1×1 convolutions on the GPU equal the reference", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(5, "cuda pointwise");
  constexpr std::int64_t kSizes[] = {1, 2, 5, 8};
  for (int i = 0; i < 24; ++i) {
    const std::int64_t n = pick(rng, kSizes), h = pick(rng, kSizes), w = pick(rng, kSizes), ci = pick(rng, kExtents),
                       co = pick(rng, kExtents);
    const ActivationParams act{kActivations[static_cast<std::size_t>(i) % std::size(kActivations)], 0.1};
    INFO("NHWC " << n << "," << h << "," << w << "," << ci << " to " << co << " " << to_string(act.kind));
    compare(kPointwise, {n, h, w, ci}, {1, 1, ci, co}, {n, h, w, co}, i % 2 == 0, act,
            i % 4 == 3 ? DType::f64 : DType::f32, rng);
  }
}

TEST_CASE("TF32 is only used where it is allowed", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(6, "cuda tf32");
  const Tensor a = random_tensor({64, 64}, DType::f32, rng).to(gpu()),
               b = random_tensor({64, 64}, DType::f32, rng).to(gpu());
  const auto run = [&] {
    Tensor c = poisoned({64, 64}, DType::f32);
    matmul(a.view(), false, b.view(), false, c.mutable_view());
    return c.to(kCpu).to_vector<float>();
  };
  const std::vector<float> full = run();
  CHECK(run() == full);
  CHECK_FALSE(AllowTf32::allowed());
  {
    const AllowTf32 allow;
    CHECK(AllowTf32::allowed());
    std::thread([] { CHECK_FALSE(AllowTf32::allowed()); }).join();
    {
      const AllowTf32 inner(false);
      CHECK(run() == full);
    }
    [[maybe_unused]] const std::vector<float> rounded = run();
#ifdef FOVEA_CUDA_DOUBLE  // a GPU without tensor cores has no TF32
    CHECK(rounded != full);
#endif
  }
  CHECK(run() == full);
}

TEST_CASE("threads share a GPU's cuBLAS handle", "[gpu]") {
  FOVEA_NEEDS_GPU();
  std::vector<std::string> differences(4);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < differences.size(); ++t) {
    threads.emplace_back([&differences, t] {
      Rng rng(7, "cuda threads", t);
      for (int i = 0; i < 8; ++i) {
        differences[t] += compare({33, 17, 29, false, (i & 1) != 0, (i & 2) != 0, DType::f32}, rng);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& difference : differences) CHECK(difference == "");
}

#ifdef FOVEA_CUDA_DOUBLE
TEST_CASE("a failing cuBLAS is an error and leaks nothing") {
  FOVEA_NEEDS_GPU();
  Rng rng(8, "cuda failures");
  const Tensor x = random_tensor({5, 7}, DType::f32, rng), w = random_tensor({7, 9}, DType::f32, rng),
               bias = random_tensor({9}, DType::f32, rng);
  const Tensor gx = x.to(gpu()), gw = w.to(gpu()), gb = bias.to(gpu());
  Tensor y = poisoned({5, 9}, DType::f32), want({5, 9}, DType::f64);
  {
    const ForceImplementation reference("reference", true);
    dense_forward(x.to(DType::f64).view(), w.to(DType::f64).view(), bias.to(DType::f64).view(), want.mutable_view());
  }
  const Tensor scale = Tensor::full({5, 9}, 8, DType::f64);
  const auto correct = [&] { return difference(y, want, scale, kC); };
  survives_failures([&] { dense_forward(gx.view(), gw.view(), gb.view(), y.mutable_view()); }, correct,
                    {"cublas", "launch"});
  cuda::release_library_handles(0);
  // From the first use on, with the handle made anew every time.
  survives_failures(
      [&] {
        struct Release {
          ~Release() { cuda::release_library_handles(0); }
        } const at_the_end;
        dense_forward(gx.view(), gw.view(), gb.view(), y.mutable_view());
      },
      correct, {"cublas", "cudaMallocAsync"});
  cuda::release_library_handles(1);
  CHECK(cuda_double::live_cublas_handles() == 0);
}

TEST_CASE("each GPU has its own cuBLAS handle") {
  FOVEA_NEEDS_GPU();
  Rng rng(9, "cuda devices");
  const Tensor a = random_tensor({4, 4}, DType::f32, rng), b = random_tensor({4, 4}, DType::f32, rng);
  std::vector<std::vector<float>> results;
  for (int device : {0, 1, 0}) {
    const Device where = gpu(device);
    Tensor c = poisoned({4, 4}, DType::f32, where);
    matmul(a.to(where).view(), false, b.to(where).view(), true, c.mutable_view());
    results.push_back(c.to(kCpu).to_vector<float>());
  }
  CHECK(results[0] == results[1]);
  CHECK(results[0] == results[2]);
  CHECK(cuda_double::live_cublas_handles() == 2);
  cuda::release_library_handles(1);
  CHECK(cuda_double::live_cublas_handles() == 1);
}
#endif
