// Convolutions by cuDNN in all directions, and what plans and weights are kept.
#include <thread>

#include "against_reference.h"
#include "kernels/conv2d.h"
#include "kernels/cuda/cudnn_graph.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/weight_cache.h"
#include "tests/kernels/conv_words.h"

using namespace fovea;
using namespace fovea::kernels;
using namespace fovea::test;

namespace {

struct Case {
  Shape x, w;
  Conv2dParams params;
  bool bias = false;
  ActivationParams act{Activation::none};

  Shape y() const { return conv2d_shape(params, x, w); }
  std::string to_string() const {
    return str(test::words(x, w, params), bias ? " bias " : " ", kernels::to_string(act.kind));
  }
};

OptionalView maybe(bool there, const Tensor& t) { return there ? OptionalView(t.view()) : std::nullopt; }

struct Operands {
  Tensor x, w, bias, dy;
  Operands(const Case& c, Rng& rng)
      : x(random_tensor(c.x, DType::f32, rng)),
        w(random_tensor(c.w, DType::f32, rng)),
        bias(random_tensor({c.w[3]}, DType::f32, rng)),
        dy(random_tensor(c.y(), DType::f32, rng)) {}
};

/// Whether the call just made went to cuDNN.
bool by_cudnn() { return last_implementation().find("cudnn") != std::string_view::npos; }

Tensor forward(const Case& c, const Tensor& x, const Tensor& w, const Tensor& bias) {
  Tensor y = poisoned(c.y(), x.dtype(), x.device());
  conv2d_forward(c.params, x.view(), w.view(), maybe(c.bias, bias), y.mutable_view(), c.act);
  return y;
}

/// All directions of one case on the GPU against the reference; how many of the three cuDNN did.
int compare(const Case& c, Rng& rng, bool misalign = false, Device where = gpu()) {
  INFO(c.to_string());
  const Operands o(c, rng);
  const auto put = [&](const Tensor& t) { return misalign ? misaligned(t, where) : t.to(where); };
  const Tensor x = put(o.x), w = put(o.w), bias = put(o.bias), dy = put(o.dy);
  Tensor dx = poisoned(c.x, DType::f32, where), dw = poisoned(c.w, DType::f32, where),
         db = poisoned(bias.shape(), DType::f32, where);
#ifdef FOVEA_CUDA_DOUBLE
  const std::int64_t copied = cuda_double::copied_bytes();
#endif
  int done = 0;
  Tensor y(c.y(), DType::f32, where);
  conv2d_forward(c.params, x.view(), w.view(), maybe(c.bias, bias), y.mutable_view(), c.act);
  done += by_cudnn();
  conv2d_backward_data(c.params, dy.view(), w.view(), dx.mutable_view());
  done += by_cudnn();
  conv2d_backward_weights(c.params, x.view(), dy.view(), dw.mutable_view(),
                          c.bias ? std::optional(db.mutable_view()) : std::nullopt);
  done += by_cudnn();
#ifdef FOVEA_CUDA_DOUBLE
  CHECK(cuda_double::copied_bytes() == copied);
#endif

  const ForceImplementation reference("reference", true);
  const Tensor x64 = o.x.to(DType::f64), w64 = o.w.to(DType::f64), b64 = o.bias.to(DType::f64),
               dy64 = o.dy.to(DType::f64);
  const Tensor xa = absolute(x64), wa = absolute(w64), ba = absolute(b64), dya = absolute(dy64);
  Case linear = c;
  linear.act = {Activation::none};
  Tensor want = forward(c, x64, w64, b64), scale = forward(linear, xa, wa, ba);
  if (c.act.kind != Activation::none) scale = behind_activation(scale, want);
  CHECK(difference(y, want, scale, kC) == "");
  want = Tensor(c.x, DType::f64), scale = Tensor(c.x, DType::f64);
  conv2d_backward_data(c.params, dy64.view(), w64.view(), want.mutable_view());
  conv2d_backward_data(c.params, dya.view(), wa.view(), scale.mutable_view());
  CHECK(difference(dx, want, scale, kC) == "");
  want = Tensor(c.w, DType::f64), scale = Tensor(c.w, DType::f64);
  Tensor want_bias(bias.shape(), DType::f64), scale_bias(bias.shape(), DType::f64);
  conv2d_backward_weights(c.params, x64.view(), dy64.view(), want.mutable_view(), want_bias.mutable_view());
  conv2d_backward_weights(c.params, xa.view(), dya.view(), scale.mutable_view(), scale_bias.mutable_view());
  CHECK(difference(dw, want, scale, kC) == "");
  if (c.bias) CHECK(difference(db, want_bias, scale_bias, kC) == "");
  return done;
}

Case random_case(Rng& rng, int i) {
  constexpr std::int64_t kBatches[] = {1, 1, 2, 3}, kSizes[] = {5, 7, 8, 12}, kKernels[] = {1, 2, 3, 3, 5},
                         kChannels[] = {1, 2, 3, 5, 8, 16};
  constexpr int kGroups[] = {1, 1, 1, 2, 3}, kStrides[] = {1, 1, 2, 3}, kDilations[] = {1, 1, 1, 2};
  for (;;) {
    Case c;
    c.params.groups = pick(rng, kGroups);
    c.params.stride = {pick(rng, kStrides), pick(rng, kStrides)};
    c.params.dilation = {pick(rng, kDilations), pick(rng, kDilations)};
    const auto side = [&] { return static_cast<int>(rng.below(3)); };
    switch (rng.below(4)) {
      case 0: c.params.padding = Padding::tf_same(); break;
      case 1: c.params.padding = Padding::same_both(side()); break;
      default: c.params.padding = Padding::sides(side(), side(), side(), side()); break;
    }
    const std::int64_t ci = pick(rng, kChannels), co = pick(rng, kChannels);
    c.w = {pick(rng, kKernels), pick(rng, kKernels), ci, co * c.params.groups};
    c.x = {pick(rng, kBatches), pick(rng, kSizes), pick(rng, kSizes), ci * c.params.groups};
    c.bias = i % 2 == 0;
    c.act = {kActivations[static_cast<std::size_t>(i / 2) % std::size(kActivations)], 0.1};
    // Depthwise and 1×1 convolutions with stride 1 have kernels of their own.
    if (c.params.groups > 1 && ci == 1) continue;
    try {
      c.y();
      return c;
    } catch (const Error&) {  // the window is larger than the picture
    }
  }
}

/// 3×3, stride 1, same size; what only one of cuDNN's engines is needed for.
Case simple(bool bias = false, Activation act = Activation::none) {
  return {{2, 6, 7, 4}, {3, 3, 4, 8}, {.padding = Padding::same_both(1)}, bias, {act, 0.1}};
}

Conv2dProblem forward_problem(const Case& c, const Tensor& x, const Tensor& w, Tensor& y) {
  Conv2dProblem p;
  p.params = c.params;
  p.x = x.view();
  p.w = w.view();
  p.out = y.mutable_view();
  p.y = p.out;
  return p;
}

}  // namespace

TEST_CASE("convolutions by cuDNN equal the reference", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(11, "cudnn sweep");
  int by = 0, all = 0;
  for (int i = 0; i < 90; ++i) {
    by += compare(random_case(rng, i), rng, i % 5 == 0);
    all += 3;
  }
  // Large channels, and a picture's first layer.
  by += compare({{1, 7, 7, 96}, {3, 3, 96, 128}, {.stride = {2, 2}, .padding = Padding::tf_same()}, true}, rng);
  by += compare({{2, 33, 31, 3}, {7, 7, 3, 16}, {.stride = {2, 2}, .padding = Padding::same_both(3)}}, rng);
  all += 6;
  INFO(by << " of " << all << " by cuDNN");
  CHECK(by > all * 3 / 4);
}

TEST_CASE("transposed convolutions are cuDNN's the other way round", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(21, "cudnn transposed");
  const std::vector<ConvTranspose2dParams> all{
      {.stride = {2, 2}, .padding = Padding::tf_same()},
      {.stride = {2, 3}, .output_padding = {1, 2}},
      {.padding = Padding::sides(1, 0, 0, 2), .dilation = {2, 1}, .groups = 2}};
  for (const ConvTranspose2dParams& params : all) {
    const Shape xs{2, 4, 5, 6}, ws{3, 3, 4, 6};
    const Shape ys = conv_transpose2d_shape(params, xs, ws);
    const Tensor x = random_tensor(xs, DType::f32, rng), w = random_tensor(ws, DType::f32, rng),
                 dy = random_tensor(ys, DType::f32, rng), bias = random_tensor({ys[3]}, DType::f32, rng);
    const auto run = [&](const auto& at) {
      const Tensor tx = at(x), tw = at(w), tdy = at(dy), tb = at(bias);
      const auto like = [&](const Shape& shape) { return poisoned(shape, tx.dtype(), tx.device()); };
      Tensors out{like(ys), like(xs), like(ws), like(bias.shape())};
      conv_transpose2d_forward(params, tx.view(), tw.view(), tb.view(), out[0].mutable_view());
      conv_transpose2d_backward_data(params, tdy.view(), tw.view(), out[1].mutable_view());
      conv_transpose2d_backward_weights(params, tx.view(), tdy.view(), out[2].mutable_view(), out[3].mutable_view());
      CHECK((tx.device() == kCpu || by_cudnn()));
      return out;
    };
    const Tensors got = run([](const Tensor& t) { return t.to(gpu()); });
    const ForceImplementation reference("reference", true);
    const Tensors want = run([](const Tensor& t) { return t.to(DType::f64); });
    const Tensors scale = run([](const Tensor& t) { return absolute(t.to(DType::f64)); });
    // The bias is added to a rounded result.
    for (std::size_t i = 0; i < got.size(); ++i)
      CHECK(difference(got[i], want[i], scale[i], i == 0 ? kC + 1 : kC) == "");
  }
}

TEST_CASE("cuDNN declines what it is not for", "[gpu]") {
  FOVEA_NEEDS_GPU();
  const Case c = simple();
  Tensor x(c.x, DType::f64, gpu()), w(c.w, DType::f64, gpu()), y(c.y(), DType::f64, gpu());
  CHECK(std::string(cuda::cudnn_declines(forward_problem(c, x, w, y))) == "needs f32, bf16 or f16");
  Tensor hx(c.x), hw(c.w), hy(c.y());
  CHECK(std::string(cuda::cudnn_declines(forward_problem(c, hx, hw, hy))) == "operands are not in GPU memory");
  x = Tensor(c.x, DType::f32, gpu()), w = Tensor(c.w, DType::f32, gpu()), y = Tensor(c.y(), DType::f32, gpu());
  Conv2dProblem p = forward_problem(c, x, w, y);
  CHECK(cuda::cudnn_declines(p) == nullptr);
  p.x.shape = {1 << 16, 1 << 9, 1 << 9, 1};
  p.params.padding = {};
  p.y.shape = p.out.shape = {1 << 16, (1 << 9) - 2, (1 << 9) - 2, 8};
  CHECK(std::string(cuda::cudnn_declines(p)) == "more than 2^31 elements");
}

TEST_CASE("a plan is made once, and the same call gives the same bits", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(12, "cudnn plans");
  const Case c{{1, 9, 9, 5}, {3, 3, 5, 6}, {.stride = {2, 2}, .padding = Padding::tf_same()}, true};
  const Operands o(c, rng);
  const Tensor x = o.x.to(gpu()), w = o.w.to(gpu()), bias = o.bias.to(gpu());
  const auto first = forward(c, x, w, bias).to(kCpu).to_vector<float>();
  const cuda::CacheStats before = cuda::plan_cache_stats();
#ifdef FOVEA_CUDA_DOUBLE
  const std::int64_t asked = cuda_double::cudnn_heuristics_asked();
#endif
  CHECK(forward(c, x, w, bias).to(kCpu).to_vector<float>() == first);
  const cuda::CacheStats after = cuda::plan_cache_stats();
  CHECK(after.misses == before.misses);
  CHECK(after.hits > before.hits);
  CHECK(after.entries == before.entries);
#ifdef FOVEA_CUDA_DOUBLE
  CHECK(cuda_double::cudnn_heuristics_asked() == asked);
#endif
}

TEST_CASE("weights are laid out once until they change", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(13, "cudnn weights");
  const Case c = simple();
  const Operands o(c, rng);
  const Tensor x = o.x.to(gpu()), dy = o.dy.to(gpu());
  Tensor w = o.w.to(gpu());
  cuda::clear_weight_cache(0);
  const auto y = forward(c, x, w, {}).to(kCpu).to_vector<float>();
  cuda::CacheStats before = cuda::weight_cache_stats();
  CHECK(before.entries == 1);
  CHECK(before.cost == w.nbytes());
  CHECK(forward(c, x, w, {}).to(kCpu).to_vector<float>() == y);
  Tensor dx(c.x, DType::f32, gpu());
  conv2d_backward_data(c.params, dy.view(), w.view(), dx.mutable_view());
  cuda::CacheStats after = cuda::weight_cache_stats();
  CHECK(after.hits == before.hits + 2);
  CHECK(after.misses == before.misses);

  w.copy_from(o.w.to(gpu()).view_as(c.w));  // the same values, but written: laid out anew, in the place of the old ones
  CHECK(forward(c, x, w, {}).to(kCpu).to_vector<float>() == y);
  Tensor other = random_tensor(c.w, DType::f32, rng);
  w.copy_from(other.to(gpu()));
  const auto changed = forward(c, x, w, {}).to(kCpu).to_vector<float>();
  CHECK(changed != y);
  CHECK(forward(c, x, other.to(gpu()), {}).to(kCpu).to_vector<float>() == changed);
  after = cuda::weight_cache_stats();
  CHECK(after.entries == 2);
  CHECK(after.cost == 2 * w.nbytes());
  cuda::clear_weight_cache(0);
  CHECK(cuda::weight_cache_stats().entries == 0);

  // Memory that is no tensor's has no version that could tell of changes.
  ConstView raw = w.view();
  raw.storage_id = 0;
  Tensor z(c.y(), DType::f32, gpu());
  conv2d_forward(c.params, x.view(), raw, std::nullopt, z.mutable_view());
  CHECK(z.to(kCpu).to_vector<float>() == changed);
  CHECK(cuda::weight_cache_stats().entries == 0);
}

TEST_CASE("a bounded map forgets what was used least recently") {
  struct Hash {
    std::size_t operator()(int key) const { return static_cast<std::size_t>(key % 2); }
  };
  cuda::LruCache<int, std::shared_ptr<int>, Hash> cache(10);
  std::vector<std::weak_ptr<int>> values;
  const auto put = [&](int key, std::size_t cost) {
    auto value = std::make_shared<int>(key);
    values.emplace_back(value);
    cache.put(key, value, cost);
  };
  for (int key = 0; key < 3; ++key) put(key, 3);
  CHECK(cache.find(0).has_value());
  put(3, 4);  // 13 of 10: the oldest goes, which is 1
  CHECK_FALSE(cache.find(1).has_value());
  CHECK(values[1].expired());
  CHECK(cache.stats().cost == 10);
  put(4, 6);  // would leave no room for another
  CHECK(values[4].expired());
  CHECK(cache.stats().entries == 3);
  put(0, 1);  // in the place of the one before
  CHECK(values[0].expired());
  CHECK(cache.stats().cost == 8);
  CHECK_FALSE(cache.find(0, [](const auto& value) { return *value != 0; }).has_value());
  cache.erase_if([](int key) { return key != 2; });
  CHECK(cache.stats().entries == 1);
  CHECK(cache.stats().hits == 1);
  CHECK(cache.stats().misses == 2);
}

TEST_CASE("measured plans give right results", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(14, "cudnn autotune");
  CHECK_FALSE(Autotune::enabled());
  const Autotune measure;
  std::thread([] { CHECK_FALSE(Autotune::enabled()); }).join();
  for (int i = 0; i < 6; ++i) compare(random_case(rng, i), rng);
  const Case c{{1, 11, 9, 4}, {3, 3, 4, 4}};
  compare(c, rng);
  const cuda::CacheStats before = cuda::plan_cache_stats();
  compare(c, rng);
  CHECK(cuda::plan_cache_stats().misses == before.misses);
}

TEST_CASE("threads share a GPU's cuDNN handle", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(15, "cudnn threads");
  const Case c = simple(true, Activation::relu);
  const Operands o(c, rng);
  const Tensor x = o.x.to(gpu()), w = o.w.to(gpu()), bias = o.bias.to(gpu());
  const auto expected = forward(c, x, w, bias).to(kCpu).to_vector<float>();
  cuda::clear_plan_cache(0);
  cuda::clear_weight_cache(0);
  std::vector<int> wrong(4, 0);
  std::vector<std::thread> threads;
  threads.reserve(wrong.size());
  for (int& mine : wrong) {
    threads.emplace_back([&] {
      for (int i = 0; i < 6; ++i) mine += forward(c, x, w, bias).to(kCpu).to_vector<float>() != expected;
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == std::vector<int>(4, 0));
}

TEST_CASE("NaN stays NaN behind a fused activation", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(16, "cudnn nan");
  for (const Activation act : {Activation::relu, Activation::relu6, Activation::leaky_relu}) {
    const Case c = simple(true, act);
    const Operands o(c, rng);
    const Tensor x = Tensor::full(c.x, std::numeric_limits<double>::quiet_NaN());
    INFO(to_string(act));
    bool all = true;
    for (const float v : forward(c, x.to(gpu()), o.w.to(gpu()), o.bias.to(gpu())).to(kCpu).to_vector<float>())
      all = all && std::isnan(v);
    CHECK(all);
  }
}

#ifdef FOVEA_CUDA_DOUBLE
namespace {
struct Fusion {
  explicit Fusion(cuda_double::CudnnFusion what) {
    cuda_double::support_cudnn_fusion(what);
    cuda::clear_plan_cache(0);
  }
  ~Fusion() {
    cuda_double::support_cudnn_fusion(cuda_double::CudnnFusion::as_9_19);
    cuda::clear_plan_cache(0);
  }
};
std::string engine_of(const Case& c, Rng& rng) {
  const Operands o(c, rng);
  forward(c, o.x.to(gpu()), o.w.to(gpu()), o.bias.to(gpu()));
  return cuda_double::last_cudnn_engine();
}
}  // namespace

TEST_CASE("engines are chosen by what they promise") {
  FOVEA_NEEDS_GPU();
  Rng rng(17, "cudnn engines");
  CHECK(engine_of(simple(), rng) == "plain");
  Case dilated = simple();
  dilated.params.dilation = {2, 2};
  CHECK(engine_of(dilated, rng) == "fallback");
  {
    const AllowTf32 allow;
    CHECK(engine_of(simple(), rng) == "tensor cores");
    CHECK(engine_of(simple(true), rng) == "fused tensor cores");
  }
  CHECK(engine_of(simple(), rng) == "plain");
}

TEST_CASE("bias and activation are fused where an engine is worth it") {
  FOVEA_NEEDS_GPU();
  Rng rng(18, "cudnn fusion");
  CHECK(engine_of(simple(true), rng) == "fused");
  CHECK(engine_of(simple(true, Activation::relu), rng) == "fused");
  CHECK(engine_of(simple(true, Activation::relu6), rng) == "plain");  // there is one, of plain loops
  CHECK(engine_of(simple(false, Activation::relu), rng) == "plain");
  CHECK(engine_of(simple(true, Activation::silu), rng) == "plain");
  for (const auto what : {cuda_double::CudnnFusion::none, cuda_double::CudnnFusion::all}) {
    const Fusion support(what);
    for (const Activation act : kActivations) {
      for (const bool bias : {false, true}) {
        // The first two cuDNN does not have, the others it approximates.
        const bool fusible = act != Activation::hard_swish && act != Activation::hard_sigmoid &&
                             act != Activation::tanh && act != Activation::gelu_tanh;
        const bool nothing = !bias && act == Activation::none;
        const bool fuses = what == cuda_double::CudnnFusion::all && fusible && !nothing;
        INFO(to_string(act) << " bias " << bias);
        compare(simple(bias, act), rng);
        CHECK(engine_of(simple(bias, act), rng) == (fuses ? "fused" : "plain"));
      }
    }
  }
}

TEST_CASE("a refusal of cuDNN is a reason, remembered without being asked again") {
  FOVEA_NEEDS_GPU();
  const Case c = simple();
  Tensor x(c.x, DType::f32, gpu()), w(c.w, DType::f32, gpu()), y(c.y(), DType::f32, gpu());
  const Conv2dProblem p = forward_problem(c, x, w, y);
  cuda::clear_plan_cache(0);
  cuda_double::refuse_cudnn(true);
  const std::int64_t launches = cuda_double::launches();
  REQUIRE(cuda::cudnn_declines(p) != nullptr);
  CHECK(std::string(cuda::cudnn_declines(p)).find("no engine") != std::string::npos);
  const std::int64_t asked = cuda_double::cudnn_heuristics_asked();
  CHECK(cuda::cudnn_declines(p) != nullptr);
  CHECK(cuda_double::cudnn_heuristics_asked() == asked);
  CHECK(cuda_double::launches() == launches);
  cuda_double::refuse_cudnn(false);
  CHECK(cuda::cudnn_declines(p) != nullptr);
  cuda::clear_plan_cache(0);
  CHECK(cuda::cudnn_declines(p) == nullptr);
}

TEST_CASE("kept plans are bounded") {
  FOVEA_NEEDS_GPU();
  cuda::clear_plan_cache(0);
  const std::int64_t descriptors = cuda_double::live_cudnn_descriptors();
  std::int64_t full = 0;
  for (std::size_t i = 0; i < cuda::kPlanCacheLimit + 50; ++i) {
    cuda::ConvKey key;
    key.ci = key.co = static_cast<std::int64_t>(i) + 1;
    REQUIRE(cuda::conv_plan(key) != nullptr);
    if (i + 1 == cuda::kPlanCacheLimit) full = cuda_double::live_cudnn_descriptors();
  }
  CHECK(cuda::plan_cache_stats().entries == cuda::kPlanCacheLimit);
  CHECK(cuda_double::live_cudnn_descriptors() == full);
  cuda::clear_plan_cache(0);
  CHECK(cuda_double::live_cudnn_descriptors() == descriptors);
}

TEST_CASE("a failing cuDNN is an error and leaks nothing") {
  FOVEA_NEEDS_GPU();
  Rng rng(19, "cudnn failures");
  Case c = simple(true, Activation::relu);
  c.params.stride = {2, 2};
  c.params.padding = Padding::sides(0, 1, 0, 1);
  c.x = {1, 6, 6, 2};
  c.w = {3, 3, 2, 3};
  const Operands o(c, rng);
  const Tensor x = o.x.to(gpu()), w = o.w.to(gpu()), bias = o.bias.to(gpu()), dy = o.dy.to(gpu());
  Tensor y = poisoned(c.y(), DType::f32), dx = poisoned(c.x, DType::f32), dw = poisoned(c.w, DType::f32),
         db = poisoned({3}, DType::f32), want_y, want_dx(c.x, DType::f64), want_dw(c.w, DType::f64),
         want_db({3}, DType::f64);
  {
    const ForceImplementation reference("reference", true);
    const Tensor x64 = o.x.to(DType::f64), dy64 = o.dy.to(DType::f64), w64 = o.w.to(DType::f64);
    want_y = forward(c, x64, w64, o.bias.to(DType::f64));
    conv2d_backward_data(c.params, dy64.view(), w64.view(), want_dx.mutable_view());
    conv2d_backward_weights(c.params, x64.view(), dy64.view(), want_dw.mutable_view(), want_db.mutable_view());
  }
  const auto all = [&] {
    conv2d_forward(c.params, x.view(), w.view(), bias.view(), y.mutable_view(), c.act);
    conv2d_backward_data(c.params, dy.view(), w.view(), dx.mutable_view());
    conv2d_backward_weights(c.params, x.view(), dy.view(), dw.mutable_view(), db.mutable_view());
  };
  const auto correct = [&] {
    const auto near = [](const Tensor& got, const Tensor& want) {
      return difference(got, want, Tensor::full(want.shape(), 20, DType::f64), kC);
    };
    return near(y, want_y) + near(dx, want_dx) + near(dw, want_dw) + near(db, want_db);
  };
  // With plans and weights that are kept, and from the very first call on.
  survives_failures(all, correct, {"cudnn", "launch", "cudaMallocAsync"});
  cuda::release_library_handles(0);
  const std::int64_t others = cuda_double::live_cudnn_descriptors();
  survives_failures(
      [&] {
        struct Release {
          std::int64_t others;
          ~Release() {
            cuda::release_library_handles(0);
            CHECK(cuda_double::live_cudnn_descriptors() == others);
          }
        } const at_the_end{others};
        all();
      },
      correct, {"cudnn", "launch", "cudaMallocAsync"});
}

TEST_CASE("each GPU has its own plans and weights") {
  FOVEA_NEEDS_GPU();
  Rng rng(20, "cudnn devices");
  for (const int device : {0, 1, 0, 1}) compare(simple(true), rng, false, gpu(device));
  CHECK(cuda_double::live_cudnn_handles() == 2);
  cuda::release_library_handles(1);
  CHECK(cuda_double::live_cudnn_handles() == 1);
}
#endif
