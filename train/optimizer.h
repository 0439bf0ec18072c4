// Optimizers: plain configurations (SGD, Adam, AdamW, RMSprop, LAMB) and the class that applies one to a module's
// parameters.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "layers/module.h"

namespace fovea {

/// Frameworks differ in where epsilon, the learning rate and the decay enter a rule that goes by one name. A learning
/// rate tuned in one framework is only right under that framework's convention.
enum class OptimizerConvention : std::uint8_t { pytorch, keras };

/// Stochastic gradient descent (Sutskever et al. 2013 for Nesterov's form). PyTorch: g += wd·p; b = momentum·b + g
/// (first step b = g); p −= lr·(nesterov ? g + momentum·b : b). Keras: p −= lr·wd·p; b = momentum·b − lr·g; p +=
/// nesterov ? momentum·b − lr·g : b.
struct SGD {
  double lr = 0.01;
  double momentum = 0;
  bool nesterov = false;
  double weight_decay = 0;
  OptimizerConvention convention = OptimizerConvention::pytorch;
};

/// Kingma and Ba 2015, with weight decay as an L2 term in the gradient. Keras' convention applies epsilon to the
/// uncorrected √v.
struct Adam {
  double lr = 1e-3;
  double beta1 = 0.9, beta2 = 0.999;
  double epsilon = 1e-8;  ///< Keras uses 1e-7
  double weight_decay = 0;
  OptimizerConvention convention = OptimizerConvention::pytorch;
};

/// Adam with decoupled weight decay, p −= lr·wd·p first (Loshchilov and Hutter 2019).
struct AdamW {
  double lr = 1e-3;
  double beta1 = 0.9, beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.01;
  OptimizerConvention convention = OptimizerConvention::pytorch;
};

/// Where the variants of RMSprop (Tieleman and Hinton 2012) disagree. v = alpha·v + (1−alpha)·g².
enum class RMSpropConvention : std::uint8_t {
  pytorch,      ///< v₀ = 0; b = momentum·b + g/(√v + eps); p −= lr·b; L2 decay
  keras,        ///< v₀ = 0; b = momentum·b + lr·g/√(v + eps); p −= b; decoupled decay (p −= lr·wd·p)
  tensorflow1,  ///< v₀ = 1, otherwise as keras but with L2 decay: TensorFlow 1 and timm's RMSpropTF, EfficientNet's
                ///< recipe
};

struct RMSprop {
  double lr = 0.01;
  double alpha = 0.9;  ///< Keras' and TensorFlow's rho; PyTorch's default is 0.99
  double momentum = 0;
  double epsilon = 1e-8;  ///< Keras 1e-7; EfficientNet's recipe 1e-3
  bool centered = false;  ///< subtracts the squared mean gradient from v
  double weight_decay = 0;
  RMSpropConvention convention = RMSpropConvention::pytorch;
};

/// You et al. 2020, for large batches: Adam's direction u plus wd·p, scaled per tensor by the trust ratio |p|/|u| (1
/// where either is 0, and for tensors without decay, as in the authors' code).
struct LAMB {
  double lr = 1e-3;
  double beta1 = 0.9, beta2 = 0.999;
  double epsilon = 1e-6;
  double weight_decay = 0.01;
};

using OptimizerConfig = std::variant<SGD, Adam, AdamW, RMSprop, LAMB>;

/// "sgd", "adam", "adamw", "rmsprop", "lamb".
FOVEA_API std::string_view to_string(const OptimizerConfig& config);
/// Every field as text, "adamw lr=0.001 beta1=0.9 …": for logs and for telling that a resumed run uses another
/// optimizer.
FOVEA_API std::string describe(const OptimizerConfig& config);
FOVEA_API double base_learning_rate(const OptimizerConfig& config);
FOVEA_API void set_base_learning_rate(OptimizerConfig& config, double lr);

/// Scales the learning rate of the parameters whose full name matches (as in Module::freeze: '*', '?', or a module
/// path). The last matching entry counts.
struct LearningRateScale {
  std::string pattern;
  double scale = 1;
};

/// Zhang et al. 2019: every `every` steps slow += alpha·(fast − slow) and the fast weights restart from there.
struct Lookahead {
  int every = 5;
  double alpha = 0.5;
};

struct OptimizerOptions {
  bool decay_all = false;  ///< also decay biases and normalisation parameters (frameworks' default; costs accuracy)
  std::vector<LearningRateScale> lr_scales;
  std::optional<Lookahead> lookahead;
};

/// Updates parameters in place from their grad(). Parameters that are frozen or have no gradient are left alone, state
/// included. Holds the parameter tensors: make a new one after Module::to() has replaced them.
class FOVEA_API Optimizer {
 public:
  /// Error{usage} for values out of range (a negative rate, beta ≥ 1, …), no parameters, or an lr_scales pattern that
  /// matches none.
  Optimizer(const OptimizerConfig& config, std::vector<NamedTensor> parameters, OptimizerOptions options = {});

  /// One update of every parameter that has a gradient. Gradients stay as they are: zero_grad() afterwards.
  void step();
  void zero_grad();

  /// The current rate, before lr_scales; the config's until a schedule sets another.
  double learning_rate() const { return lr_; }
  void set_learning_rate(double lr) { lr_ = lr; }
  /// SGD's and RMSprop's momentum, Adam's and LAMB's beta1 (one-cycle moves it against the rate). Error{usage} outside
  /// [0, 1).
  double momentum() const;
  void set_momentum(double momentum);
  /// Number of step() calls so far.
  std::int64_t step_count() const { return steps_; }
  const OptimizerConfig& config() const { return config_; }
  const std::vector<NamedTensor>& parameters() const { return parameters_; }

  /// All that step() depends on besides parameters and gradients: "<parameter>/<slot>" for each moment that exists,
  /// "steps" (i64: the count, then one per parameter) and "rates" (f64: learning rate, momentum). Shares memory with
  /// the optimizer: clone to keep.
  std::vector<NamedTensor> state() const;
  /// Restores state() to the same bits. Error{format} naming tensors that are missing, unexpected or misshapen; then
  /// nothing changed.
  void load_state(const std::vector<NamedTensor>& state);

 private:
  struct Slots {
    Tensor a;     // SGD and RMSprop: momentum; Adam and LAMB: m
    Tensor b;     // RMSprop, Adam and LAMB: v
    Tensor c;     // centered RMSprop: mean gradient
    Tensor slow;  // Lookahead
    std::int64_t steps = 0;
    double lr_scale = 1;
    double decay = 0;
  };
  /// A parameter that this step moves.
  struct Due {
    Tensor* parameter;
    Slots* slots;
    Tensor grad;
    double lr;
  };
  void update(const SGD& config, const std::vector<Due>& due);
  void update_adam(double beta1, double beta2, double epsilon, bool decoupled, bool keras, const std::vector<Due>& due);
  void update(const RMSprop& config, const std::vector<Due>& due);
  void update(const LAMB& config, const std::vector<Due>& due);
  void catch_up(const std::vector<Due>& due);
  std::vector<std::pair<const char*, Tensor Slots::*>> slot_names() const;

  OptimizerConfig config_;
  OptimizerOptions options_;
  std::vector<NamedTensor> parameters_;
  std::vector<Slots> slots_;
  double lr_;
  std::int64_t steps_ = 0;
};

/// An optimizer of all parameters of a module (frozen ones join in when they are unfrozen).
FOVEA_API Optimizer make_optimizer(const OptimizerConfig& config, const Module& module, OptimizerOptions options = {});

/// Whether a parameter's full name matches a pattern: '*' any text, '?' one character; a plain module path matches all
/// below it.
FOVEA_API bool name_matches(std::string_view name, std::string_view pattern);

}  // namespace fovea
