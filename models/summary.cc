#include "models/summary.h"

#include "layers/init.h"
#include "models/zoo.h"

namespace fovea::models {

Cost cost(const Model& model) {
  Cost out;
  out.parameters = model.network().parameter_count();
  const OpList list = model.capture(1);
  for (const OpList::Node& node : list.nodes) {
    std::vector<TensorSpec> in, result;
    for (const int v : node.inputs)
      in.push_back(v < 0 ? TensorSpec{{}, DType::f32, true} : list.values[static_cast<std::size_t>(v)].spec);
    for (const int v : node.outputs) result.push_back(list.values[static_cast<std::size_t>(v)].spec);
    out.macs += node.op->macs(in, result);
  }
  return out;
}

Cost cost(const std::string& name, const Options& options) {
  const ParameterMode meta(ParameterMode::Kind::meta);
  const auto [architecture, resolved] = resolve(name, options);
  return cost(build(*architecture, resolved));
}

}  // namespace fovea::models
