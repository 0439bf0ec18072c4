#include "models/transfer.h"

#include <cmath>

#include "core/rng.h"
#include "layers/modules.h"

namespace fovea {
namespace {

const std::vector<std::pair<std::string, ModulePtr>>& stages(const Model& model, std::string_view what) {
  if (!dynamic_cast<const Sequential*>(&model.network())) {
    throw Error(ErrorKind::usage, what,
                str("the network is a ", model.network().kind(), ", not a chain of named stages"),
                "networks of the zoo are");
  }
  return model.network().children();
}

void check_classifier(const Model& model, const char* what) {
  const auto& children = stages(model, what);
  if (children.empty() || children.back().first != "classifier")
    throw Error(ErrorKind::usage, what, "the network does not end in a classifier",
                "larger networks of the zoo do; small ones are trained from nothing");
}

}  // namespace

Model replace_head(const Model& model, int classes, std::uint64_t seed) {
  if (classes < 1) throw Error(ErrorKind::usage, "replace_head", str("needs at least 1 class, got ", classes));
  check_classifier(model, "replace_head");
  const auto& children = model.network().children();
  const Tensor old = model.network().tensor("classifier.weight");
  auto net = std::make_shared<Sequential>();
  for (std::size_t i = 0; i + 1 < children.size(); ++i) net->add(children[i].first, children[i].second);
  net->add("classifier", Dense(static_cast<int>(old.dim(0)), classes));
  Model out(ModulePtr(std::move(net)));
  out.architecture = model.architecture;
  out.options = model.options;
  out.options.classes = classes;
  out.preprocessing = model.preprocessing;
  initialize_head(out, seed);
  return out;
}

void initialize_head(Model& model, std::uint64_t seed) {
  check_classifier(model, "a new head");
  Tensor weight = model.network().tensor("classifier.weight");
  initialize(weight, init::pytorch::kaiming_uniform(), Rng(seed, "classifier.weight"));
  model.network().tensor("classifier.bias").zero();
}

std::pair<ModulePtr, ModulePtr> split_at(const Model& model, std::string_view child) {
  auto before = std::make_shared<Sequential>(), behind = std::make_shared<Sequential>();
  bool found = false;
  std::string known;
  for (const auto& [name, module] : stages(model, "split_at")) {
    found |= name == child;
    (found ? behind : before)->add(name, module);
    known += str(known.empty() ? "" : ", ", name);
  }
  if (!found)
    throw Error(ErrorKind::usage, "split_at", str("the network has no stage '", child, "'"), str("it has: ", known));
  return {before, behind};
}

std::vector<std::string> stage_names(const Model& model) {
  std::vector<std::string> out;
  for (const auto& [name, module] : stages(model, "stage_names")) out.push_back(name);
  return out;
}

}  // namespace fovea
