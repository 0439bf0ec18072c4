// Modules made of modules: chains, residual blocks, branches, and the convolution–batch norm–activation block.
#pragma once

#include <concepts>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "layers/modules/conv2d.h"
#include "layers/modules/norm.h"

namespace fovea {

namespace detail {
/// A module handed over by value (Conv2d(…), std::move(block)) or a shared pointer to one.
template <class M>
ModulePtr as_module(M&& module) {
  if constexpr (std::is_convertible_v<M&&, ModulePtr>) {
    return ModulePtr(std::forward<M>(module));
  } else {
    static_assert(std::derived_from<std::remove_cvref_t<M>, Module>, "expected a module or a shared pointer to one");
    static_assert(!std::is_lvalue_reference_v<M>, "modules are not copied: pass std::move(module) or a shared pointer");
    return std::make_shared<std::remove_cvref_t<M>>(std::forward<M>(module));
  }
}
template <class M>
concept ModuleLike = std::derived_from<std::remove_cvref_t<M>, Module> || std::convertible_to<M, ModulePtr>;
}  // namespace detail

/// Runs its modules one after the other. An activation module right behind one that can fuse it (Conv2d, Dense,
/// BatchNorm) is computed in that module's op: same values, one pass over memory less.
class FOVEA_API Sequential : public Module {
 public:
  Sequential() = default;
  /// Children are named "0", "1", … as in PyTorch.
  template <detail::ModuleLike First, detail::ModuleLike... Rest>
  requires(sizeof...(Rest) > 0 ||
           !std::same_as<std::remove_cvref_t<First>, Sequential>) explicit Sequential(First&& first, Rest&&... rest) {
    add(std::forward<First>(first));
    (add(std::forward<Rest>(rest)), ...);
  }

  template <detail::ModuleLike M>
  Sequential& add(M&& module) {
    return append({}, detail::as_module(std::forward<M>(module)));
  }
  template <detail::ModuleLike M>
  Sequential& add(std::string_view name, M&& module) {
    return append(std::string(name), detail::as_module(std::forward<M>(module)));
  }

  std::string_view kind() const override { return "Sequential"; }
  Tensor forward(const Tensor& x) override;

 private:
  Sequential& append(std::string name, ModulePtr module);
  std::vector<char> fused_;  // per child: an activation that the child before it computes
};

/// y = act(shortcut(x) + body(x)); the shortcut is x itself or a projection. Children "body" and "projection".
class FOVEA_API Residual : public Module {
 public:
  template <detail::ModuleLike Body>
  requires(!std::same_as<std::remove_cvref_t<Body>, Residual>) explicit Residual(
      Body&& body, ActivationParams activation = kNoActivation)
      : Residual(detail::as_module(std::forward<Body>(body)), ModulePtr(), activation) {}
  template <detail::ModuleLike Body, detail::ModuleLike Projection>
  Residual(Body&& body, Projection&& projection, ActivationParams activation = kNoActivation)
      : Residual(detail::as_module(std::forward<Body>(body)), detail::as_module(std::forward<Projection>(projection)),
                 activation) {}
  /// `projection` may be null.
  Residual(ModulePtr body, ModulePtr projection, ActivationParams activation);

  std::string_view kind() const override { return "Residual"; }
  Tensor forward(const Tensor& x) override;

 private:
  ModulePtr body_, projection_;
  ActivationParams activation_;
};

enum class Join : std::uint8_t {
  concat,  ///< along channels
  sum,
  product,
};

/// Runs every module on x and joins the results. Children "0", "1", … or as named with add().
class FOVEA_API Branch : public Module {
 public:
  template <detail::ModuleLike... M>
  explicit Branch(Join join, M&&... modules) : join_(join) {
    (add(std::forward<M>(modules)), ...);
  }
  template <detail::ModuleLike M>
  Branch& add(M&& module) {
    return append({}, detail::as_module(std::forward<M>(module)));
  }
  template <detail::ModuleLike M>
  Branch& add(std::string_view name, M&& module) {
    return append(std::string(name), detail::as_module(std::forward<M>(module)));
  }

  std::string_view kind() const override { return "Branch"; }
  /// Error{usage} without any module.
  Tensor forward(const Tensor& x) override;

 private:
  Branch& append(std::string name, ModulePtr module);
  Join join_;
};

struct ConvBnActOptions {
  Extent kernel = 3;
  Extent stride = 1;
  PaddingOption padding = 0;
  Extent dilation = 1;
  int groups = 1;
  bool bias = false;  ///< of the convolution: redundant before a norm, but some pretrained networks have one
  bool scale = true;  ///< whether the norm has gamma
  BatchNormOptions norm = {};
  ActivationParams activation = {Activation::relu};
  Initializer weight_init = init::pytorch::kaiming_uniform();
};

/// Convolution, batch norm, activation (fused into the batch norm). Children "conv" and "bn". In training with a frozen
/// norm, which is then a constant scale and shift, these go into the convolution: the same function with one pass over
/// the activations instead of three (EfficientNet-Lite0, batch 16: 5.3 instead of 8.9 s of processor time for 8 steps,
/// 852 instead of 1197 MB; `fovea bench efficientnet_lite0 --train --batch 16 --frozen-norms`).
class FOVEA_API ConvBnAct : public Module {
 public:
  ConvBnAct(int in, int out, const ConvBnActOptions& options = {});
  std::string_view kind() const override { return "ConvBnAct"; }
  Tensor forward(const Tensor& x) override;

 private:
  std::shared_ptr<Conv2d> conv_;
  std::shared_ptr<BatchNorm> bn_;
};

}  // namespace fovea
