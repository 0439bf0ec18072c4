#include "train/privacy/private_steps_internal.h"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "core/autograd/modes.h"
#include "core/error.h"
#include "core/rng.h"
#include "kernels/optimizer.h"
#include "train/privacy/per_example.h"

namespace fovea {
namespace {

void require(bool good, std::string_view what, std::string_view hint = {}) {
  if (!good) throw Error(ErrorKind::usage, "private training", what, hint);
}

/// What the trainer can do that reads the training data past the noise, or weighs pictures by each other.
void check(const TrainerOptions& o, bool validates) {
  require(o.batch_transforms.empty(), "mixup and cutmix make examples of two pictures, each of which counts alone",
          "leave them out");
  require(o.balance == ClassBalance::none,
          "balancing classes reads the numbers of pictures per class from the data that is to be protected",
          "leave it out, or give class weights of your own");
  require(o.clip_norm == 0 && o.clip_value == 0, "clips each picture's gradient itself", "leave out other clipping");
  require(o.precision == DType::f32, "computes in f32", "leave out the precision");
  require(o.accumulate == 1, "takes batches of any size in parts already", "set the batch size, not accumulate");
  const bool judges = o.restore_best || o.early_stopping.has_value() || std::holds_alternative<PlateauLr>(o.schedule);
  require(!judges || (validates && o.monitor != Monitor::train_loss),
          "early stopping, best weights and the plateau schedule would look at the training loss, past the noise",
          "give validation data, which is not protected");
}

template <class T>
void add(Tensor& grad, const std::function<double()>& normal, double deviation) {
  T* g = grad.mutable_data<T>();
  for (std::int64_t i = 0; i < grad.numel(); ++i) g[i] += static_cast<T>(deviation * normal());
}

/// Standard normals of the system's bits, by Box and Muller as Rng does it.
class SystemNormal {
 public:
  double operator()() {
    if (have_spare_) {
      have_spare_ = false;
      return spare_;
    }
    if (next_ + 2 > bits_.size()) {
      bits_ = system_random(4096);
      next_ = 0;
    }
    const auto uniform = [&] { return static_cast<double>(bits_[next_++] >> 11) * 0x1p-53; };
    const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
    const double angle = 6.283185307179586476925 * uniform();
    spare_ = radius * std::sin(angle);
    have_spare_ = true;
    return radius * std::cos(angle);
  }

 private:
  std::vector<std::uint64_t> bits_;
  std::size_t next_ = 0;
  bool have_spare_ = false;
  double spare_ = 0;
};

}  // namespace

std::vector<std::uint64_t> system_random(std::size_t count) {
  std::vector<std::uint64_t> out(count);
  auto* to = reinterpret_cast<unsigned char*>(out.data());
  for (std::size_t done = 0, bytes = count * 8; done < bytes;) {
    const ssize_t got = ::getrandom(to + done, bytes - done, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0)
      throw Error(ErrorKind::device, "private training", str("no random numbers: ", std::strerror(errno)),
                  "noise from a seed protects nothing, but works");
    done += static_cast<std::size_t>(got);
  }
  return out;
}

PrivateSteps::PrivateSteps(const TrainerOptions& options, const Model& model, const Dataset& train, bool validates)
    : options_(*options.privacy) {
  PrivacyOptions& p = options_;
  require(p.clip > 0 && std::isfinite(p.clip), str("clip is ", p.clip), "the largest norm of a picture's gradient");
  require((p.noise > 0) != (p.epsilon > 0), "needs either the noise or the epsilon that it may cost",
          "--noise 1.1 or --epsilon 3");
  require(p.chunk >= 0 && p.chunk <= 65536, str("chunk is ", p.chunk), "0 to 65536");
  check(options, validates);
  check_examples_apart(model.capture());

  const auto pictures = static_cast<double>(train.size());
  expected_ = static_cast<double>(std::min(options.batch_size, train.size()));
  rate_ = expected_ / pictures;
  batches_ = std::max<std::int64_t>(1, std::llround(pictures / expected_));
  if (p.delta == 0) p.delta = std::pow(10.0, -std::floor(std::log10(pictures)) - 1);
  require(p.delta > 0 && p.delta < 1, str("delta is ", p.delta), "in (0, 1), and below 1/(number of pictures)");
  if (p.noise == 0) p.noise = noise_for_epsilon(p.epsilon, p.delta, rate_, batches_ * options.epochs);
  one_step_.add(rate_, p.noise, 1);

  if (p.chunk == 0) {
    std::int64_t bytes = 1;
    for (const NamedTensor& t : model.network().parameters(true)) {
      // Matrices are those of dense layers, whose gradients are not made.
      if (t.tensor.rank() != 2) bytes += static_cast<std::int64_t>(t.tensor.nbytes());
    }
    chunk_ = std::clamp<std::int64_t>((std::int64_t{256} << 20) / bytes, 1, 64);
  } else {
    chunk_ = p.chunk;
  }
}

LoaderOptions PrivateSteps::loading(LoaderOptions usual) const {
  usual.shuffle = usual.drop_last = false;
  // A seed that is drawn anew at every start, so after resuming too: batches are independent of each other anyway.
  usual.poisson =
      PoissonSampling{.rate = rate_, .batches = batches_, .seed = options_.seed ? *options_.seed : system_random(1)[0]};
  return usual;
}

double PrivateSteps::add_gradients(const Batch& batch,
                                   const std::function<Tensor(const Batch&, std::int64_t)>& losses) {
  double sum = 0;
  const std::int64_t n = batch.labels.dim(0);
  for (std::int64_t begin = 0, index = 0; begin < n; begin += chunk_, ++index) {
    const std::int64_t end = std::min(begin + chunk_, n);
    Batch part;
    part.images = batch.images.slice(begin, end);
    part.labels = batch.labels.slice(begin, end);
    const PerExampleMode mode;
    Tape tape;
    const Tensor each = losses(part, index);
    for (const double v : each.to_vector<double>()) sum += v;
    backward_clipped(tape, each, options_.clip);
  }
  return sum;
}

void PrivateSteps::add_noise(Tensor grad, const std::string& name, std::int64_t step) const {
  const double deviation = options_.noise * options_.clip;
  std::function<double()> normal;
  if (options_.seed) {
    normal = [rng = Rng(*options_.seed, "privacy noise " + name, static_cast<std::uint64_t>(step))]() mutable {
      return rng.normal();
    };
  } else {
    normal = SystemNormal();
  }
  if (grad.dtype() == DType::f64) {
    add<double>(grad, normal, deviation);
  } else {
    add<float>(grad, normal, deviation);
  }
}

void PrivateSteps::finish(const std::vector<NamedTensor>& parameters, std::int64_t step) {
  for (const NamedTensor& p : parameters) {
    if (!p.tensor.requires_grad()) continue;
    Tensor parameter = p.tensor, grad = parameter.grad();
    if (!grad.defined()) {  // an empty batch: noise alone, or emptiness would show
      grad = Tensor::zeros(parameter.shape(), parameter.dtype(), parameter.device());
      parameter.set_grad(grad);
    }
    add_noise(grad, p.name, step);
    kernels::scale_in_place(1 / expected_, grad.mutable_view());
  }
}

PrivacyReport PrivateSteps::report(std::int64_t steps) const {
  RdpAccountant account = one_step_;
  if (steps > 1) account.add(rate_, options_.noise, steps - 1);
  const PrivacySpent spent = steps > 0 ? account.spent(options_.delta) : PrivacySpent{};
  return {.epsilon = spent.epsilon,
          .delta = options_.delta,
          .noise = options_.noise,
          .clip = options_.clip,
          .sampling_rate = rate_,
          .steps = steps,
          .order = spent.order,
          .secret = !options_.seed};
}

std::string PrivateSteps::describe() const {
  return str("clip ", options_.clip, ", noise ", options_.noise, ", delta ", options_.delta, ", ",
             options_.seed ? str("seed ", *options_.seed) : "secret noise");
}

}  // namespace fovea
