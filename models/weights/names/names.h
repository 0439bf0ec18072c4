// Collects the pairs (our path, another framework's path) of a network's layers. Internal to models/.
#pragma once

#include <string>
#include <utility>

#include "core/error.h"
#include "models/zoo.h"

namespace fovea::models {

class NameList {
 public:
  void add(std::string module, std::string source, LayerKind kind) {
    names_.layers.push_back({std::move(module), std::move(source), kind});
  }
  /// A ConvBnAct (children "conv" and "bn"). Without a name for the activation, the norm's name is that of the norm
  /// with its activation (timm's BatchNormAct2d), or there is no activation.
  void conv_bn_act(const std::string& module, const std::string& conv, const std::string& norm,
                   const std::string& activation = {}, LayerKind kind = LayerKind::conv) {
    add(module + ".conv", conv, kind);
    add(module + ".bn", norm, LayerKind::norm);
    plain(module, activation.empty() ? norm : activation);
  }
  /// The same where the other framework has no layer that gives the activated result.
  void conv_bn(const std::string& module, const std::string& conv, const std::string& norm,
               LayerKind kind = LayerKind::conv) {
    add(module + ".conv", conv, kind);
    add(module + ".bn", norm, LayerKind::norm);
  }
  /// A SqueezeExcite under `module` (children "se.reduce" and "se.expand").
  void squeeze_excite(const std::string& module, const std::string& reduce, const std::string& expand) {
    conv(module + ".se.reduce", reduce);
    conv(module + ".se.expand", expand);
  }
  void conv(const std::string& module, const std::string& source) { add(module, source, LayerKind::conv); }
  void norm(const std::string& module, const std::string& source) { add(module, source, LayerKind::norm); }
  void dense(const std::string& module, const std::string& source) { add(module, source, LayerKind::dense); }
  /// A dense layer of ours that is a 1×1 convolution there.
  void dense_as_convolution(const std::string& module, const std::string& source) {
    dense(module, source);
    names_.layers.back().as_convolution = true;
  }
  /// A module without tensors, or a second name of one.
  void plain(const std::string& module, const std::string& source) { add(module, source, LayerKind::plain); }
  /// Another name that the layer named last under `module` may have in older files.
  void also(const std::string& module, const std::string& source) { names_.alternatives.push_back({module, source}); }
  void ignore(std::string beginning) { names_.ignored.push_back(std::move(beginning)); }
  LayerNames take() { return std::move(names_); }

 private:
  LayerNames names_;
};

}  // namespace fovea::models
