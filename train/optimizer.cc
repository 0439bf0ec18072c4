// Applies the optimizer kernels to parameters and keeps their state.
#include "train/optimizer.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "kernels/optimizer.h"

namespace fovea {
namespace {

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;

void require_range(bool good, std::string_view optimizer, std::string_view field, double value,
                   std::string_view range) {
  if (!good) throw Error(ErrorKind::usage, optimizer, str(field, " is ", value), str("it must be ", range));
}

void check_common(std::string_view name, double lr, double weight_decay) {
  require_range(std::isfinite(lr) && lr >= 0, name, "lr", lr, "a finite number, at least 0");
  require_range(std::isfinite(weight_decay) && weight_decay >= 0, name, "weight_decay", weight_decay, "at least 0");
}

void check_fraction(std::string_view name, std::string_view field, double value) {
  require_range(value >= 0 && value < 1, name, field, value, "in [0, 1)");
}

void check_config(const OptimizerConfig& config) {
  const std::string_view name = to_string(config);
  std::visit(
      [&](const auto& c) {
        check_common(name, c.lr, c.weight_decay);
        if constexpr (requires { c.beta1; }) {
          check_fraction(name, "beta1", c.beta1);
          check_fraction(name, "beta2", c.beta2);
        }
        if constexpr (requires { c.momentum; }) check_fraction(name, "momentum", c.momentum);
        if constexpr (requires { c.alpha; }) check_fraction(name, "alpha", c.alpha);
        if constexpr (requires { c.epsilon; }) {
          require_range(std::isfinite(c.epsilon) && c.epsilon > 0, name, "epsilon", c.epsilon, "above 0");
        }
        if constexpr (requires { c.nesterov; }) {
          if (c.nesterov && c.momentum == 0) {
            throw Error(ErrorKind::usage, name, "Nesterov's form needs a momentum", "set .momentum, for example 0.9");
          }
        }
      },
      config);
}

/// '*' any text, '?' one character. Iterative with one backtracking point, so that hostile patterns cost no more than
/// n·m.
bool glob(std::string_view text, std::string_view pattern) {
  std::size_t t = 0, p = 0, star = std::string_view::npos, restart = 0;
  while (t < text.size()) {
    if (p < pattern.size() && (pattern[p] == '?' || (pattern[p] != '*' && pattern[p] == text[t]))) {
      ++t;
      ++p;
    } else if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      restart = t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++restart;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

void ensure(Tensor& slot, const Tensor& like, double value = 0) {
  if (!slot.defined()) slot = Tensor::full(like.shape(), value, like.dtype(), like.device());
}

}  // namespace

bool name_matches(std::string_view name, std::string_view pattern) {
  if (glob(name, pattern)) return true;
  return name.size() > pattern.size() && name.starts_with(pattern) && name[pattern.size()] == '.';
}

std::string_view to_string(const OptimizerConfig& config) {
  constexpr std::string_view kNames[] = {"sgd", "adam", "adamw", "rmsprop", "lamb"};
  return kNames[config.index()];
}

std::string describe(const OptimizerConfig& config) {
  std::string out = std::visit(
      [](const auto& c) {
        std::string text = str(" lr=", c.lr);
        if constexpr (requires { c.beta1; }) text += str(" beta1=", c.beta1, " beta2=", c.beta2);
        if constexpr (requires { c.alpha; }) text += str(" alpha=", c.alpha, " centered=", c.centered);
        if constexpr (requires { c.momentum; }) text += str(" momentum=", c.momentum);
        if constexpr (requires { c.nesterov; }) text += str(" nesterov=", c.nesterov);
        if constexpr (requires { c.epsilon; }) text += str(" epsilon=", c.epsilon);
        text += str(" weight_decay=", c.weight_decay);
        if constexpr (requires { c.alpha; }) {
          constexpr const char* kNames[] = {"pytorch", "keras", "tensorflow1"};
          text += str(" convention=", kNames[static_cast<int>(c.convention)]);
        } else if constexpr (requires { c.convention; }) {
          text += str(" convention=", c.convention == OptimizerConvention::keras ? "keras" : "pytorch");
        }
        return text;
      },
      config);
  return std::string(to_string(config)) + out;
}

double base_learning_rate(const OptimizerConfig& config) {
  return std::visit([](const auto& c) { return c.lr; }, config);
}

void set_base_learning_rate(OptimizerConfig& config, double lr) {
  std::visit([lr](auto& c) { c.lr = lr; }, config);
}

Optimizer::Optimizer(const OptimizerConfig& config, std::vector<NamedTensor> parameters, OptimizerOptions options)
    : config_(config),
      options_(std::move(options)),
      parameters_(std::move(parameters)),
      lr_(base_learning_rate(config)) {
  check_config(config_);
  const std::string_view name = to_string(config_);
  std::erase_if(parameters_, [](const NamedTensor& t) { return t.is_buffer; });
  if (parameters_.empty()) throw Error(ErrorKind::usage, name, "there are no parameters to train");
  if (options_.lookahead) {
    const Lookahead& ahead = *options_.lookahead;
    require_range(ahead.every >= 1, "lookahead", "every", ahead.every, "at least 1");
    require_range(ahead.alpha > 0 && ahead.alpha <= 1, "lookahead", "alpha", ahead.alpha, "in (0, 1]");
  }
  const double decay = std::visit([](const auto& c) { return c.weight_decay; }, config_);
  slots_.resize(parameters_.size());
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    if (!is_floating(parameters_[i].tensor.dtype()) || dtype_size(parameters_[i].tensor.dtype()) < 4) {
      throw Error(ErrorKind::usage, name,
                  str(parameters_[i].name, " is ", parameters_[i].tensor.to_string(), ", not f32 or f64"),
                  "train in f32; convert afterwards");
    }
    slots_[i].decay = options_.decay_all || parameters_[i].role == ParameterRole::weight ? decay : 0;
  }
  for (const LearningRateScale& rule : options_.lr_scales) {
    require_range(std::isfinite(rule.scale) && rule.scale >= 0, name, "lr scale", rule.scale, "at least 0");
    bool matched = false;
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      if (!name_matches(parameters_[i].name, rule.pattern)) continue;
      slots_[i].lr_scale = rule.scale;
      matched = true;
    }
    if (!matched) {
      throw Error(ErrorKind::usage, name, str("no parameter matches the pattern '", rule.pattern, "'"),
                  str("names look like '", parameters_.front().name, "'"));
    }
  }
}

double Optimizer::momentum() const {
  return std::visit(
      [](const auto& c) {
        if constexpr (requires { c.momentum; })
          return c.momentum;
        else
          return c.beta1;
      },
      config_);
}

void Optimizer::set_momentum(double momentum) {
  check_fraction(to_string(config_), "momentum", momentum);
  std::visit(
      [&](auto& c) {
        if constexpr (requires { c.momentum; })
          c.momentum = momentum;
        else
          c.beta1 = momentum;
      },
      config_);
}

void Optimizer::zero_grad() {
  for (NamedTensor& parameter : parameters_) parameter.tensor.zero_grad();
}

void Optimizer::step() {
  // All checks come before the first write, so that a refused step leaves every parameter as it was.
  for (const NamedTensor& parameter : parameters_) {
    if (!parameter.tensor.requires_grad()) continue;
    const Tensor grad = parameter.tensor.grad();
    if (grad.defined() && (grad.shape() != parameter.tensor.shape() || grad.dtype() != parameter.tensor.dtype())) {
      throw Error(ErrorKind::shape, to_string(config_),
                  str("the gradient of ", parameter.name, " is ", grad.to_string(), ", the parameter ",
                      parameter.tensor.to_string()));
    }
  }
  std::vector<Due> due;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    Tensor& p = parameters_[i].tensor;
    if (!p.requires_grad()) continue;
    Tensor grad = p.grad();
    if (!grad.defined() || p.numel() == 0) continue;
    Slots& slots = slots_[i];
    if (options_.lookahead && !slots.slow.defined()) slots.slow = p.clone();
    ++slots.steps;
    due.push_back({&p, &slots, std::move(grad), lr_ * slots.lr_scale});
  }
  std::visit(Overloaded{
                 [&](const Adam& c) {
                   update_adam(c.beta1, c.beta2, c.epsilon, false, c.convention == OptimizerConvention::keras, due);
                 },
                 [&](const AdamW& c) {
                   update_adam(c.beta1, c.beta2, c.epsilon, true, c.convention == OptimizerConvention::keras, due);
                 },
                 [&](const auto& c) { update(c, due); },
             },
             config_);
  if (options_.lookahead) catch_up(due);
  ++steps_;
}

void Optimizer::catch_up(const std::vector<Due>& due) {
  std::vector<kernels::Update> slow;
  for (const auto& [p, slots, grad, lr] : due) {
    if (slots->steps % options_.lookahead->every != 0) continue;
    slow.push_back({kernels::UpdateKind::lerp, 1 - options_.lookahead->alpha, p->view(), slots->slow.mutable_view()});
  }
  kernels::update_all(slow);
  for (const auto& [p, slots, grad, lr] : due) {
    if (slots->steps % options_.lookahead->every == 0) p->copy_from(slots->slow);
  }
}

void Optimizer::update(const SGD& c, const std::vector<Due>& due) {
  const bool keras = c.convention == OptimizerConvention::keras;
  std::vector<kernels::SgdUpdate> updates;
  for (const auto& [p, slots, grad, lr] : due) {
    std::optional<View> momentum;
    if (c.momentum != 0) {
      ensure(slots->a, *p);
      momentum = slots->a.mutable_view();
    }
    updates.push_back({{.lr = lr,
                        .momentum = c.momentum,
                        .weight_decay = slots->decay,
                        .nesterov = c.nesterov,
                        .decoupled = keras,
                        .first = slots->steps == 1,
                        .keras = keras},
                       grad.view(),
                       p->mutable_view(),
                       momentum});
  }
  kernels::sgd_steps(updates);
}

void Optimizer::update_adam(double beta1, double beta2, double epsilon, bool decoupled, bool keras,
                            const std::vector<Due>& due) {
  std::vector<kernels::AdamUpdate> updates;
  for (const auto& [p, slots, grad, lr] : due) {
    ensure(slots->a, *p);
    ensure(slots->b, *p);
    updates.push_back({{.lr = lr,
                        .beta1 = beta1,
                        .beta2 = beta2,
                        .epsilon = epsilon,
                        .weight_decay = slots->decay,
                        .step = slots->steps,
                        .decoupled = decoupled,
                        .keras = keras},
                       grad.view(),
                       p->mutable_view(),
                       slots->a.mutable_view(),
                       slots->b.mutable_view()});
  }
  kernels::adam_steps(updates);
}

void Optimizer::update(const RMSprop& c, const std::vector<Due>& due) {
  const bool pytorch = c.convention == RMSpropConvention::pytorch, keras = c.convention == RMSpropConvention::keras;
  std::vector<kernels::RmspropUpdate> updates;
  std::vector<kernels::Update> decays;
  for (const auto& [p, slots, grad, lr] : due) {
    ensure(slots->b, *p, c.convention == RMSpropConvention::tensorflow1 ? 1.0 : 0.0);
    std::optional<View> momentum, mean_grad;
    if (c.momentum != 0) {
      ensure(slots->a, *p);
      momentum = slots->a.mutable_view();
    }
    if (c.centered) {
      ensure(slots->c, *p);
      mean_grad = slots->c.mutable_view();
    }
    if (keras && slots->decay != 0)
      decays.push_back({kernels::UpdateKind::scale, 1 - lr * slots->decay, {}, p->mutable_view()});
    updates.push_back({{.lr = lr,
                        .alpha = c.alpha,
                        .epsilon = c.epsilon,
                        .momentum = c.momentum,
                        .weight_decay = keras ? 0 : slots->decay,
                        .epsilon_inside = !pytorch,
                        .lr_in_momentum = !pytorch},
                       grad.view(),
                       p->mutable_view(),
                       slots->b.mutable_view(),
                       momentum,
                       mean_grad});
  }
  kernels::update_all(decays);
  kernels::rmsprop_steps(updates);
}

void Optimizer::update(const LAMB& c, const std::vector<Due>& due) {
  // An Adam step of rate −1 from zero leaves Adam's direction m̂/(√v̂ + eps) itself.
  std::vector<Tensor> directions;
  std::vector<kernels::AdamUpdate> updates;
  std::vector<kernels::Update> decays, moves;
  std::vector<ConstView> squared;  // parameter and direction of those that decay
  for (const auto& [p, slots, grad, lr] : due) {
    ensure(slots->a, *p);
    ensure(slots->b, *p);
    directions.push_back(Tensor::zeros(p->shape(), p->dtype(), p->device()));
    const View direction = directions.back().mutable_view();
    updates.push_back({{.lr = -1, .beta1 = c.beta1, .beta2 = c.beta2, .epsilon = c.epsilon, .step = slots->steps},
                       grad.view(),
                       direction,
                       slots->a.mutable_view(),
                       slots->b.mutable_view()});
    if (slots->decay == 0) continue;
    decays.push_back({kernels::UpdateKind::add, slots->decay, p->view(), direction});
    squared.push_back(p->view());
    squared.push_back(direction);
  }
  kernels::adam_steps(updates);
  kernels::update_all(decays);
  const std::vector<double> squares = kernels::sums_of_squares(squared);
  std::size_t at = 0, i = 0;
  for (const auto& [p, slots, grad, lr] : due) {
    double trust = 1;
    if (slots->decay != 0) {
      const double p_norm = std::sqrt(squares[at]), u_norm = std::sqrt(squares[at + 1]);
      if (p_norm > 0 && u_norm > 0) trust = p_norm / u_norm;
      at += 2;
    }
    moves.push_back({kernels::UpdateKind::add, -lr * trust, directions[i++].view(), p->mutable_view()});
  }
  kernels::update_all(moves);
}

std::vector<std::pair<const char*, Tensor Optimizer::Slots::*>> Optimizer::slot_names() const {
  return {{"m", &Slots::a}, {"v", &Slots::b}, {"mean_grad", &Slots::c}, {"slow", &Slots::slow}};
}

std::vector<NamedTensor> Optimizer::state() const {
  std::vector<NamedTensor> out;
  std::vector<std::int64_t> steps = {steps_};
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    for (const auto& [name, member] : slot_names()) {
      if ((slots_[i].*member).defined()) out.push_back({parameters_[i].name + "/" + name, slots_[i].*member, true});
    }
    steps.push_back(slots_[i].steps);
  }
  out.push_back({"steps", Tensor::from({static_cast<std::int64_t>(steps.size())}, steps), true});
  out.push_back({"rates", Tensor::from<double>({2}, {lr_, momentum()}), true});
  return out;
}

void Optimizer::load_state(const std::vector<NamedTensor>& state) {
  const auto bad = [&](std::string what) -> Error {
    return Error(ErrorKind::format, to_string(config_), what, "the state comes from another optimizer or network");
  };
  std::vector<Slots> slots = slots_;
  for (Slots& s : slots) s.a = s.b = s.c = s.slow = Tensor();
  bool have_steps = false, have_rates = false;
  std::int64_t total = 0;
  double lr = 0, new_momentum = 0;
  for (const NamedTensor& entry : state) {
    if (entry.name == "steps") {
      if (entry.tensor.dtype() != DType::i64 || entry.tensor.numel() != static_cast<std::int64_t>(slots.size() + 1)) {
        throw bad(str("the step counts are ", entry.tensor.to_string(), ", not i64 ", slots.size() + 1));
      }
      const auto values = entry.tensor.values<std::int64_t>();
      for (const std::int64_t v : values) {
        if (v < 0) throw bad("a step count is negative");
      }
      total = values[0];
      for (std::size_t i = 0; i < slots.size(); ++i) slots[i].steps = values[i + 1];
      have_steps = true;
      continue;
    }
    if (entry.name == "rates") {
      if (entry.tensor.dtype() != DType::f64 || entry.tensor.numel() != 2) throw bad("the rates are not two f64");
      lr = entry.tensor.data<double>()[0];
      new_momentum = entry.tensor.data<double>()[1];
      have_rates = true;
      continue;
    }
    const std::size_t slash = entry.name.rfind('/');
    const std::string parameter = entry.name.substr(0, slash);
    const std::string slot = slash == std::string::npos ? "" : entry.name.substr(slash + 1);
    const auto at =
        std::find_if(parameters_.begin(), parameters_.end(), [&](const NamedTensor& p) { return p.name == parameter; });
    bool placed = false;
    for (const auto& [name, member] : slot_names()) {
      if (at == parameters_.end() || slot != name) continue;
      if (entry.tensor.shape() != at->tensor.shape() || entry.tensor.dtype() != at->tensor.dtype()) {
        throw bad(str(entry.name, " is ", entry.tensor.to_string(), ", the parameter ", at->tensor.to_string()));
      }
      slots[static_cast<std::size_t>(at - parameters_.begin())].*member = entry.tensor.to(at->tensor.device()).clone();
      placed = true;
    }
    if (!placed) throw bad(str("unexpected tensor '", entry.name, "'"));
  }
  if (!have_steps || !have_rates) throw bad(str("'", have_steps ? "rates" : "steps", "' is missing"));
  for (std::size_t i = 0; i < slots.size(); ++i) {
    if (slots[i].steps == 0 || parameters_[i].tensor.numel() == 0) continue;
    const bool needs_m = momentum() != 0 || !std::holds_alternative<SGD>(config_);
    const bool rmsprop = std::holds_alternative<RMSprop>(config_);
    const bool missing = (needs_m && !rmsprop && !slots[i].a.defined()) ||
                         (!std::holds_alternative<SGD>(config_) && !slots[i].b.defined()) ||
                         (options_.lookahead && !slots[i].slow.defined());
    if (missing) throw bad(str("the state of ", parameters_[i].name, " is missing"));
  }
  set_momentum(new_momentum);
  slots_ = std::move(slots);
  steps_ = total;
  lr_ = lr;
}

Optimizer make_optimizer(const OptimizerConfig& config, const Module& module, OptimizerOptions options) {
  return Optimizer(config, module.parameters(), std::move(options));
}

}  // namespace fovea
