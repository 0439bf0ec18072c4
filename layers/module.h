// Module: a piece of a network with named parameters, buffers and child modules, forming one tree of names.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/tensor.h"
#include "layers/init.h"

namespace fovea {

/// What a parameter is, for weight decay and listings.
enum class ParameterRole : std::uint8_t { weight, bias, norm };

struct NamedTensor {
  std::string name;  ///< full path: "features.0.conv.weight"
  Tensor tensor;
  bool is_buffer = false;  ///< running statistics: saved, not trained
  ParameterRole role = ParameterRole::weight;
};

class Module;
using ModulePtr = std::shared_ptr<Module>;

class FOVEA_API Module {
 public:
  Module();
  virtual ~Module();
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;
  // Modules can be built by value and handed to a container: Sequential(Conv2d(…), ReLU()).
  Module(Module&&) noexcept;
  Module& operator=(Module&&) noexcept;

  /// The kind of module, for summaries: "Conv2d".
  virtual std::string_view kind() const = 0;
  /// Computes the result. Implementations call ops (layers/ops) and children; users call the module itself.
  virtual Tensor forward(const Tensor& x) = 0;
  /// forward() inside the module's name scope (so that captures know which module an op belongs to).
  Tensor operator()(const Tensor& x);

  /// Own and descendants' parameters and buffers in order of registration, each tensor once (shared ones under their
  /// first name).
  std::vector<NamedTensor> named_tensors() const;
  /// Only parameters; only those that require gradients when `trainable`.
  std::vector<NamedTensor> parameters(bool trainable = false) const;
  std::vector<NamedTensor> buffers() const;
  /// The tensor of that name; Error{usage} listing near names if there is none.
  Tensor tensor(std::string_view name) const;
  const std::vector<std::pair<std::string, ModulePtr>>& children() const { return children_; }
  /// Number of parameter elements (without buffers).
  std::int64_t parameter_count() const;

  /// Freezes every parameter whose full name matches `pattern` ('*' any text, '?' one character; a plain module path
  /// matches all below it). Frozen parameters get no gradient; a frozen batch norm neither uses nor updates batch
  /// statistics. Freezing is independent of training mode and survives it. Returns how many parameters matched (of
  /// modules without parameters, buffers); Error{usage} if none.
  int freeze(std::string_view pattern = "*");
  int unfreeze(std::string_view pattern = "*");
  /// True for a module all of whose own parameters are frozen (set by freeze()).
  bool frozen() const { return frozen_; }
  /// Freezes everything that comes before the child of that name, in order of registration. `child` may be a path
  /// ("features.14"): then also what comes before it at each level. Error{usage} listing near names if there is none.
  void freeze_until(std::string_view child);

  /// Copies values from tensors of the same names. Strict: Error{format} listing all missing, unexpected and misshapen
  /// names, and nothing is changed. Values are converted to the parameter's type.
  void load(const std::vector<NamedTensor>& tensors);
  /// Copies all parameters and buffers to a device or floating type. The tensors are replaced: do it before an
  /// optimizer takes them.
  void to(Device device);
  void to(DType dtype);
  void zero_grad();
  /// Draws every parameter anew as its module asks, from Rng(seed, its full name), and resets buffers (running
  /// statistics): the values depend on the seed and the names only. A module that was just built has values already,
  /// drawn from streams numbered by the order of construction on this thread.
  void initialize(std::uint64_t seed);

 protected:
  /// Registers and returns a trainable tensor. Names are unique among a module's tensors and children.
  Tensor register_parameter(std::string name, Tensor init, ParameterRole role = ParameterRole::weight);
  /// The same, drawn as `init` says; initialize() draws it again.
  Tensor register_parameter(std::string name, const Shape& shape, const Initializer& init,
                            ParameterRole role = ParameterRole::weight);
  Tensor register_buffer(std::string name, Tensor init);
  /// A buffer filled with a value, to which initialize() resets it.
  Tensor register_buffer(std::string name, const Shape& shape, double value);
  ModulePtr register_module(std::string name, ModulePtr child);
  template <class M>
  std::shared_ptr<M> register_module(std::string name, std::shared_ptr<M> child) {
    register_module(std::move(name), ModulePtr(child));
    return child;
  }
  /// The current tensor of a registered name (Module::to replaces tensors, so modules look them up or override
  /// on_change()).
  Tensor own(std::string_view name) const;
  /// The same by order of registration: for modules that own many.
  Tensor own_at(std::size_t index) const { return own_[index].tensor; }

 private:
  struct Own {
    std::string name;
    Tensor tensor;
    bool is_buffer = false;
    ParameterRole role = ParameterRole::weight;
    std::optional<Initializer> init = {};
  };
  struct Walk;
  Tensor add_own(Own own);
  void check_name(const std::string& name) const;
  int set_frozen(std::string_view pattern, bool frozen);
  template <class Fn>
  void replace_tensors(Fn&& replacement);
  std::vector<Own> own_;
  std::vector<std::pair<std::string, ModulePtr>> children_;
  std::string name_;  // as registered in the parent
  bool frozen_ = false;
};

}  // namespace fovea
