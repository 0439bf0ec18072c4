// fovea models: the zoo with sizes, costs and whose weights fit.
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "models/model.h"
#include "models/summary.h"
#include "tools/command.h"
#include "tools/table.h"

namespace fovea::tools {
namespace {

int run_models(const Common& common) {
  nlohmann::ordered_json out = nlohmann::ordered_json::array();
  Table table({"network", "input", "parameters>", "multiply-adds>", "weights of"});
  for (const std::string& name : models::names()) {
    const models::Info info = models::info(name);
    const models::Cost cost = models::cost(name);
    std::string layouts;
    for (const models::Layout l : info.layouts) {
      if (l != models::Layout::fovea) layouts += str(layouts.empty() ? "" : ", ", to_string(l));
    }
    table.row(
        {name, str(info.image_size, "×", info.image_size), grouped(cost.parameters), grouped(cost.macs), layouts});
    out.push_back({{"name", name},
                   {"image_size", info.image_size},
                   {"classes", info.classes},
                   {"parameters", cost.parameters},
                   {"macs", cost.macs},
                   {"layouts", nlohmann::ordered_json::array()},
                   {"aliases", info.aliases}});
    for (const models::Layout l : info.layouts) out.back()["layouts"].push_back(to_string(l));
  }
  if (common.json) {
    std::printf("%s\n", out.dump().c_str());
    return 0;
  }
  table.print();
  std::printf(
      "\nParameters and multiply-adds are those of the network's own input size and number of classes. Width: "
      "--width.\n"
      "`fovea summary NAME` lists the layers; `fovea weights` fetches pretrained weights that anyone can install.\n");
  return 0;
}

}  // namespace

void add_models(CLI::App& app, Action& action) {
  auto common = std::make_shared<Common>();
  CLI::App* command =
      app.add_subcommand("models", "List the networks with parameters, multiply-adds and whose weights fit");
  command->footer(
      "Examples:\n"
      "  fovea models --json    with other frameworks' names for each");
  add_common(*command, *common);
  command->callback([&action, common] { action = [common] { return run_models(*common); }; });
}

}  // namespace fovea::tools
