// Optimizer steps, scans and clipping of all tensors at once, on the GPU against the reference and against one by one.
#include "kernels/optimizer.h"
#include "core/autograd/modes.h"
#include "core/autograd/tape.h"
#include "cuda/both.h"
#include "layers/ops.h"
#include "models/zoo.h"
#include "train/ema.h"
#include "train/gradients.h"
#include "train/optimizer.h"

using namespace fovea;
using namespace fovea::test;

TEST_CASE("scans and optimizer steps", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(7, "cuda");
  for (const std::int64_t count : {1, 255, 100000}) {
    Tensor x = random_tensor({count}, rng);
    const Tensor there = x.to(DType::f32).to(gpu());
    CHECK(kernels::sum_of_squares(there.view()) == Approx(kernels::sum_of_squares(x.view())).epsilon(1e-12));
    CHECK(kernels::all_finite(there.view()));
    for (const double bad : {std::nan(""), -HUGE_VAL}) {
      x.mutable_data<double>()[count - 1] = bad;
      CHECK_FALSE(kernels::all_finite(x.to(DType::f32).to(gpu()).view()));
    }
  }
  const Shape shape{321};
  const Tensor grad = random_tensor(shape, rng), param = random_tensor(shape, rng), a = random_tensor(shape, rng),
               b = random_tensor(shape, rng, 0.5, 1), c = random_tensor(shape, rng, 0, 0.5);
  const std::vector<TensorSpec> three = {{shape}, {shape}, {shape}};
  for (const bool keras : {false, true}) {
    for (const bool flag : {false, true}) {
      for (const bool first : {false, true}) {
        for (const double momentum : {0.0, 0.9}) {
          const kernels::SgdStep step{.lr = 0.1,
                                      .momentum = momentum,
                                      .weight_decay = 0.01,
                                      .nesterov = flag,
                                      .decoupled = first != flag,
                                      .first = first,
                                      .keras = keras};
          agree({grad}, {{shape}, {shape}},
                [&](const Tensors& in, Tensors& out) {
                  kernels::sgd_step({step, in[0].view(), out[0].mutable_view(),
                                     momentum == 0 ? std::nullopt : std::optional<View>(out[1].mutable_view())});
                },
                1e-6, 1e-13, {param, a});
        }
      }
      const kernels::AdamStep adam{
          .lr = 0.01, .weight_decay = 0.1, .step = flag ? 1 : 1000, .decoupled = flag, .keras = keras};
      agree({grad}, three,
            [&](const Tensors& in, Tensors& out) {
              kernels::adam_step(
                  {adam, in[0].view(), out[0].mutable_view(), out[1].mutable_view(), out[2].mutable_view()});
            },
            1e-6, 1e-13, {param, a, b});
      for (const bool centered : {false, true}) {
        const kernels::RmspropStep rms{
            .lr = 0.01, .momentum = 0.9, .weight_decay = 0.05, .epsilon_inside = flag, .lr_in_momentum = keras};
        agree({grad}, {{shape}, {shape}, {shape}, {shape}},
              [&](const Tensors& in, Tensors& out) {
                kernels::rmsprop_step({rms, in[0].view(), out[0].mutable_view(), out[1].mutable_view(),
                                       out[2].mutable_view(),
                                       centered ? std::optional<View>(out[3].mutable_view()) : std::nullopt});
              },
              2e-6, 1e-13, {param, b, a, c});
      }
    }
  }
  Tensor partly = param.clone();
  for (std::int64_t i = 0; i < 100; ++i) partly.mutable_data<double>()[i] = grad.data<double>()[i];
  agree({grad}, {{shape}, {shape}, {shape}, {shape}, {shape}},
        [&](const Tensors& in, Tensors& out) {
          using kernels::UpdateKind;
          const kernels::Update updates[] = {{UpdateKind::scale, 0.7, {}, out[0].mutable_view()},
                                             {UpdateKind::lerp, 0.9, in[0].view(), out[1].mutable_view()},
                                             {UpdateKind::add, -0.3, in[0].view(), out[2].mutable_view()},
                                             {UpdateKind::clamp, 0.2, {}, out[3].mutable_view()},
                                             {UpdateKind::lerp, 0.9, in[0].view(), out[4].mutable_view()}};
          kernels::update_all(updates);
        },
        1e-6, 1e-13, {param, a, b, c, partly});
}

namespace {

/// Parameters of many sizes: one element, parts of a block and several, and one of no elements.
struct Parameters {
  Tensors params, grads, m, v, mean;
  explicit Parameters(std::uint64_t seed, std::size_t count = 150) {
    Rng rng(seed, "parameters");
    for (std::size_t i = 0; i < count; ++i) {
      const Shape shape{i == 7 ? 0 : i == 11 ? 20011 : static_cast<std::int64_t>(rng.below(5000)) + 1};
      const DType type = i % 13 == 5 ? DType::f64 : DType::f32;
      const auto made = [&](double low, double high) {
        return random_tensor(shape, rng, low, high).to(type).to(gpu());
      };
      params.push_back(made(-1, 1));
      grads.push_back(made(-1, 1));
      m.push_back(made(-1, 1));
      v.push_back(made(0.5, 1));
      mean.push_back(made(0, 0.5));
    }
  }
};

void same_bits(const Tensors& a, const Tensors& b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    INFO("tensor " << i);
    CHECK(a[i].to(kCpu).to_vector<double>() == b[i].to(kCpu).to_vector<double>());
  }
}

}  // namespace

// Every third has a step of its own, so that there are more different ones than travel with one launch.
TEST_CASE("all tensors at once give the bits of one by one on the GPU", "[gpu]") {
  FOVEA_NEEDS_GPU();
  const auto run = [](int optimizer, bool together) {
    Parameters p(3);
    std::vector<kernels::SgdUpdate> sgd;
    std::vector<kernels::AdamUpdate> adam;
    std::vector<kernels::RmspropUpdate> rms;
    std::vector<kernels::Update> updates;
    for (std::size_t i = 0; i < p.params.size(); ++i) {
      const double lr = i % 3 == 0 ? 0.1 / static_cast<double>(i + 1) : 0.1, decay = i % 2 == 0 ? 0.01 : 0;
      const View param = p.params[i].mutable_view(), m = p.m[i].mutable_view(), v = p.v[i].mutable_view();
      const ConstView grad = p.grads[i].view();
      sgd.push_back({{.lr = lr, .momentum = 0.9, .weight_decay = decay, .nesterov = i % 5 == 0}, grad, param, m});
      adam.push_back({{.lr = lr, .weight_decay = decay, .step = 3, .decoupled = true}, grad, param, m, v});
      rms.push_back({{.lr = lr, .momentum = 0.9, .weight_decay = decay}, grad, param, v, m, p.mean[i].mutable_view()});
      constexpr kernels::UpdateKind kKinds[] = {kernels::UpdateKind::scale, kernels::UpdateKind::lerp,
                                                kernels::UpdateKind::add, kernels::UpdateKind::clamp};
      const kernels::UpdateKind kind = kKinds[i % 4];
      const bool two = kind == kernels::UpdateKind::lerp || kind == kernels::UpdateKind::add;
      updates.push_back({kind, 5 * lr, two ? OptionalView(grad) : std::nullopt, param});
    }
    const auto call = [&](const auto& all, auto&& f) {
      if (together) return f(std::span(all));
      for (std::size_t i = 0; i < all.size(); ++i) f(std::span(&all[i], 1));
    };
    if (optimizer == 0) call(sgd, [](auto all) { kernels::sgd_steps(all); });
    if (optimizer == 1) call(adam, [](auto all) { kernels::adam_steps(all); });
    if (optimizer == 2) call(rms, [](auto all) { kernels::rmsprop_steps(all); });
    if (optimizer == 3) call(updates, [](auto all) { kernels::update_all(all); });
    return p;
  };
  for (int optimizer = 0; optimizer < 4; ++optimizer) {
    INFO("optimizer " << optimizer);
    const Parameters fresh(3), one_by_one = run(optimizer, false), together = run(optimizer, true);
    same_bits(together.params, one_by_one.params);
    same_bits(together.m, one_by_one.m);
    same_bits(together.v, one_by_one.v);
    same_bits(together.mean, one_by_one.mean);
    CHECK(together.params[0].to(kCpu).to_vector<double>() != fresh.params[0].to(kCpu).to_vector<double>());
  }
  const Parameters p(4);
  std::vector<ConstView> views;
  std::vector<Tensor> scanned;
  for (const Tensor& t : p.grads) {
    if (t.dtype() != DType::f32) continue;
    scanned.push_back(t);
    views.push_back(t.view());
  }
  const std::vector<double> squares = kernels::sums_of_squares(views);
  for (std::size_t i = 0; i < views.size(); ++i) {
    CHECK(squares[i] == kernels::sum_of_squares(views[i]));
    CHECK(squares[i] == Approx(kernels::sum_of_squares(scanned[i].to(kCpu).view())).epsilon(1e-12));
  }
}

TEST_CASE("averages of tensors that stay keep their bits on the GPU", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(6, "average");
  Tensor moves = random_tensor({300}, rng).to(DType::f32).to(gpu()), stays = moves.clone();
  WeightAverage average({{"moves", moves, false}, {"stays", stays, false}}, {.decay = 0.9, .warmup = false});
  const std::vector<double> before = stays.to(kCpu).to_vector<double>();
  kernels::scale_in_place(2, moves.mutable_view());
  for (int i = 0; i < 3; ++i) average.update();
  const std::vector<NamedTensor> averages = average.averages();
  CHECK(averages[1].tensor.to(kCpu).to_vector<double>() == before);
  CHECK(averages[0].tensor.to(kCpu).to_vector<double>()[0] == Approx(before[0] * (2 - 0.729)).epsilon(1e-5));
}

TEST_CASE("tensors of one call lie on one device", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Tensor here = Tensor::full(Shape{3}, 1.0), there = here.to(gpu());
  const kernels::Update updates[] = {{kernels::UpdateKind::scale, 2, {}, there.mutable_view()},
                                     {kernels::UpdateKind::scale, 2, {}, here.mutable_view()}};
  CHECK_THROWS_WITH(kernels::update_all(updates), Catch::Contains("cpu") && Catch::Contains("cuda:0"));
}

#ifdef FOVEA_CUDA_DOUBLE
TEST_CASE("clipping, AdamW and averages of MobileNetV2 take five launches, and a copy of a number per gradient") {
  Model model = models::create("mobilenet_v2", {.classes = 5, .image_size = 32, .width = 0.35});
  model.to(gpu());
  Optimizer optimizer = make_optimizer(AdamW{.lr = 1e-3}, model.network());
  WeightAverage average(model.network().named_tensors(), {});
  std::vector<NamedTensor> parameters = optimizer.parameters();
  Rng rng(1, "gradients");
  for (NamedTensor& p : parameters) p.tensor.set_grad(random_tensor(p.tensor.shape(), rng).to(DType::f32).to(gpu()));
  for (int step = 0; step < 3; ++step) {
    synchronize(gpu());
    const std::int64_t launches = cuda_double::launches(), copied = cuda_double::copied_bytes();
    clip_gradients_by_norm(parameters, 1.0 / (step + 1));
    optimizer.step();
    average.update();
    CHECK(cuda_double::launches() - launches == 5);
    // From the second step on the tables lie on the GPU.
    if (step > 0) CHECK(cuda_double::copied_bytes() - copied == static_cast<std::int64_t>(parameters.size()) * 8);
  }
  CHECK(parameters.size() > 150);
}
#endif
