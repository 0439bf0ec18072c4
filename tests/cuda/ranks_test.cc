// Training on several GPUs against training on one: equal batches, equal results. Ranks are threads, each with a GPU.
#ifdef FOVEA_NCCL
#include <algorithm>

#include "augment/dataset.h"
#include "core/autograd/tape.h"
#include "core/rng.h"
#include "cuda/both.h"
#include "kernels/devices.h"
#include "kernels/gpu_ranks.h"
#include "kernels/norm.h"
#include "layers/fused/fused_pass.h"
#include "layers/ops.h"
#include "models/zoo.h"
#include "tests/model_distance.h"
#include "tests/ranks_options.h"
#include "tests/temp_folder.h"
#include "tests/thread_ranks.h"
#include "train/distributed/data_parallel_internal.h"
#include "train/trainer.h"

#ifdef FOVEA_CUDA_DOUBLE
#include "library_doubles.h"
#include "nccl_double.h"
#endif

using namespace fovea;
using namespace fovea::test;

namespace {

constexpr int kClasses = 3, kSize = 8;  // the double's convolutions are slow

DatasetPtr noise(std::int64_t count) {
  Tensor pictures(Shape{count, kSize, kSize, 1}, DType::u8);
  Rng rng(1, "pictures");
  std::uint8_t* p = pictures.mutable_data<std::uint8_t>();
  std::vector<std::int64_t> labels;
  for (std::int64_t i = 0; i < count; ++i) {
    labels.push_back((i * 7 + i / 5) % kClasses);
    for (int j = 0; j < kSize * kSize; ++j)
      *p++ = static_cast<std::uint8_t>(rng.below(120) + static_cast<std::uint64_t>(30 * labels.back()));
  }
  return std::make_shared<TensorDataset>(pictures, labels, std::vector<std::string>{"a", "b", "c"});
}

/// Convolutions by our own kernels: the double's cuDNN takes four times as long.
struct WithoutCudnn {
#ifdef FOVEA_CUDA_DOUBLE
  WithoutCudnn() { cuda_double::refuse_cudnn(true); }
  ~WithoutCudnn() { cuda_double::refuse_cudnn(false); }
#else
  WithoutCudnn() {}
#endif
};

struct Trained {
  Model model;
  History history;
};

Trained train(const TrainerOptions& o, Device device, std::uint64_t seed = 3) {
  Trained t{models::create("small_cnn", {.classes = kClasses, .image_size = kSize, .channels = 1, .seed = seed}), {}};
  t.model.to(device);
  t.history = Trainer(t.model, o).fit(noise(27));
  return t;
}

std::vector<Trained> train_on_two(const std::function<void(TrainerOptions&)>& change = {}) {
  std::vector<Trained> both(2);
  run_ranks(2, [&](Communicator& hosts) {
    const Device device = gpu(hosts.rank());
    const std::unique_ptr<Communicator> ranks = gpu_ranks(hosts, device);
    TrainerOptions o = ranks_options(ranks.get());
    if (change) change(o);
    // Another seed on each rank: rank 0's network is what both begin with.
    both[static_cast<std::size_t>(hosts.rank())] = train(o, device, hosts.rank() == 0 ? 3 : 90);
  });
  return both;
}

}  // namespace

TEST_CASE("two GPUs with synchronised batch norm train as one", "[gpu]") {
  FOVEA_NEEDS_TWO_GPUS();
  const WithoutCudnn quick;
  TrainerOptions alone = ranks_options(nullptr);
  const Trained one = train(alone, gpu());
  CHECK(one.history.epochs.back().step == 20);
  const std::vector<Trained> two = train_on_two();
  CHECK(model_distance(two[0].model, one.model) < 1e-5);
  CHECK(model_distance(two[0].model, two[1].model) == 0);
  CHECK(two[1].model.device() == gpu(1));
  for (const Trained& t : two)
    CHECK(t.history.epochs.back().train_accuracy == one.history.epochs.back().train_accuracy);
  // And as one on the CPU, as far as another order of sums allows.
  const NoFusion apart;
  CHECK(model_distance(train(alone, kCpu).model, one.model) < 1e-3);
#ifdef FOVEA_CUDA_DOUBLE
  CHECK(cuda_double::live_nccl_comms() == 0);
#endif
}

TEST_CASE("two GPUs without synchronised batch norm hold the same bits, and other ones", "[gpu]") {
  FOVEA_NEEDS_TWO_GPUS();
  const WithoutCudnn quick;
  const std::vector<Trained> two = train_on_two([](TrainerOptions& o) {
    o.sync_batch_norm = false;
    o.epochs = 1;
  });
  CHECK(model_distance(two[0].model, two[1].model) == 0);
  TrainerOptions alone = ranks_options(nullptr);
  alone.epochs = 1;
  const Trained one = train(alone, gpu());
  CHECK(model_distance(one.model, two[0].model) > 1e-3);  // statistics of parts are others, but not much else is
  CHECK(two[0].history.epochs.back().train_loss == Approx(one.history.epochs.back().train_loss).epsilon(0.2));
}

TEST_CASE("statistics of parts on the GPU give those of the whole, and their gradient", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Rng rng(4, "parts");
  const Shape c{33};
  for (const bool affine : {true, false}) {
    const Tensor mean = random_tensor(c, rng), variance = random_tensor(c, rng, 0.1, 2);
    agree({mean, variance}, {{Shape{67}, DType::f64}}, [&](const Tensors& in, Tensors& out) {
      Tensor sums({67}, DType::f64, in[0].device()), again({67}, DType::f64, in[0].device());
      kernels::batch_moments(in[0].view(), in[1].view(), 12, sums.mutable_view());
      Tensor m(in[0].spec(), in[0].device()), v(in[0].spec(), in[0].device());
      kernels::batch_statistics(sums.view(), m.mutable_view(), v.mutable_view());
      // A part without rows counts for nothing, whatever its statistics hold.
      Tensor none = Tensor::full(c, std::nan(""), in[0].dtype()).to(in[0].device());
      kernels::batch_moments(none.view(), none.view(), 0, again.mutable_view());
      again.accumulate(sums);
      kernels::batch_moments(m.view(), v.view(), 12, sums.mutable_view());
      again.accumulate(sums);
      out[0] = again.dtype() == out[0].dtype() ? again : again.to(kCpu).to(out[0].dtype()).to(again.device());
    });
    const Tensor x = random_tensor({5, 3, 33}, rng), sums = random_tensor({66}, rng),
                 dx = random_tensor({5, 3, 33}, rng), gamma = affine ? random_tensor(c, rng) : Tensor();
    agree({x, gamma, mean, variance, sums}, {{x.shape()}},
          [&](const Tensors& in, Tensors& out) {
            kernels::batch_norm_parts_backward(1e-3, in[0].view(), optional_view(in[1]), in[2].view(), in[3].view(),
                                               in[4].view(), 40, out[0].mutable_view());
          },
          1e-6, 1e-13, {dx});
  }
}

#ifdef FOVEA_CUDA_DOUBLE
TEST_CASE("gradients are packed on the GPUs, and their sums begin while backward runs") {
  // In f32: 4.8 MB of which five fit a bucket, one that travels alone, and small ones around them.
  const std::int64_t sizes[] = {200000, 200000, 200000, 3, 200000, 200000, 300000, 17, 200000, 5, 1};
  constexpr std::size_t kUnused = 3;
  std::vector<std::string> wrong;
  std::int64_t begun_before_end = 0, all_begun = 0;
  const std::int64_t copied = cuda_double::copied_bytes();
  std::int64_t looked_at = 0;
  run_ranks(2, [&](Communicator& hosts) {
    const Device device = gpu(hosts.rank());
    const std::unique_ptr<Communicator> ranks = gpu_ranks(hosts, device);
    std::vector<NamedTensor> parameters;
    for (std::size_t p = 0; p < std::size(sizes); ++p) {
      Tensor t({sizes[p]}, DType::f32, device);
      t.zero();
      t.set_requires_grad();
      parameters.push_back({str("p", p), t});
    }
    GradientSum sums(*ranks, parameters);
    for (int pass = 0; pass < 2; ++pass) {
      Tape tape;
      Tensor loss;
      for (std::size_t p = 0; p < parameters.size(); ++p) {
        if (p == kUnused) continue;
        const Tensor term = sum(scale(parameters[p].tensor, 1 + hosts.rank() + 10 * static_cast<double>(p) + pass));
        loss = loss.defined() ? add(loss, term) : term;
      }
      hosts.barrier();
      const std::int64_t before = cuda_double::nccl_calls();
      hosts.barrier();
      tape.backward(loss, {}, sums);
      hosts.barrier();
      const std::int64_t behind = cuda_double::nccl_calls();
      hosts.barrier();
      sums.finish();
      hosts.barrier();
      if (hosts.rank() == 0) {
        begun_before_end += behind - before;
        all_begun += cuda_double::nccl_calls() - before;
      }
      for (std::size_t p = 0; p < parameters.size(); ++p) {
        const Tensor grad = parameters[p].tensor.grad();
        bool good = grad.defined() == (p != kUnused) && (!grad.defined() || grad.device() == device);
        if (good && grad.defined()) {
          const double wanted = 3 + 2 * (10 * static_cast<double>(p) + pass);
          for (const double v : grad.to_vector<double>()) good = good && v == wanted;
        }
        hosts.barrier();
        if (!good && hosts.rank() == 1) wrong.push_back(str("pass ", pass, ", ", parameters[p].name));
        if (grad.defined() && hosts.rank() == 1) looked_at += 2 * static_cast<std::int64_t>(grad.nbytes());
        parameters[p].tensor.zero_grad();
      }
    }
  });
  CHECK(wrong == std::vector<std::string>{});
  // Three buckets on two ranks in two passes; the one with the unused parameter has to wait for finish().
  CHECK(all_begun == 12);
  CHECK(begun_before_end >= 8);
  // The results, and the seed of each backward pass.
  CHECK(cuda_double::copied_bytes() - copied == looked_at + 2 * 2 * 4);
}

TEST_CASE("a sum that fails ends training before its step is written down") {
  const WithoutCudnn quick;
  const TempFolder folder(true);
  const std::string path = folder / "checkpoint.safetensors";
  std::string said[2];
  std::vector<char> whole;
  run_ranks(2, [&](Communicator& hosts) {
    // Behind the second step, whose gradients are still under way: nothing has asked for a value of them.
    struct Breaker final : TrainObserver {
      explicit Breaker(Communicator& c) : hosts(c) {}
      void on_batch(const BatchReport& r) override {
        if (r.step != 2) return;
        hosts.barrier();
        if (hosts.rank() == 0) cuda_double::break_nccl(0, ncclRemoteError);
        hosts.barrier();
      }
      Communicator& hosts;
    } breaker(hosts);
    const Device device = gpu(hosts.rank());
    const std::unique_ptr<Communicator> ranks = gpu_ranks(hosts, device);
    TrainerOptions o = ranks_options(ranks.get());
    o.checkpoint = path;
    o.checkpoint_every = 1;
    o.epochs = 1;
    o.check_gradients = false;
    o.observers = {&breaker};
    try {
      train(o, device, 3);
    } catch (const Error& e) {
      said[hosts.rank()] = e.what();
      static_cast<ThreadRank&>(hosts).leave();
    }
  });
  CHECK((said[0] + said[1]).find("NCCL says ncclRemoteError") != std::string::npos);
  CHECK_FALSE(said[0].empty());
  CHECK_FALSE(said[1].empty());
  // What is there is a training's state, and goes on to the bits of one that was left in peace.
  const std::vector<Trained> undisturbed = train_on_two([](TrainerOptions& o) { o.epochs = 1; });
  const std::vector<Trained> resumed = train_on_two([&](TrainerOptions& o) {
    o.epochs = 1;
    o.checkpoint = path;
    o.resume = true;
  });
  CHECK(model_distance(resumed[0].model, undisturbed[0].model) == 0);
}
#endif
#endif
