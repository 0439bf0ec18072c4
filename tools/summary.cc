// fovea summary: the layer table of a network.
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "infer/compile/compile.h"
#include "models/model.h"
#include "tools/answering.h"
#include "tools/command.h"
#include "tools/table.h"

namespace fovea::tools {
namespace {

struct SummaryArguments {
  Common common;
  ModelSource source;
  std::int64_t batch = 1;
  bool compiled = false;
};

/// What compilation makes of the network.
int print_compiled(const SummaryArguments& o, infer::Network network) {
  const infer::Plan& plan = network.plan(network.input_shape().with_dim(0, o.batch));
  std::int64_t macs = 0;
  if (o.common.json) {
    nlohmann::ordered_json out{{"model", o.source.path},
                               {"activation_bytes", plan.activation_bytes()},
                               {"weight_bytes", plan.weight_bytes()},
                               {"steps", nlohmann::ordered_json::array()}};
    for (const infer::Plan::StepInfo& s : plan.steps()) {
      out["steps"].push_back({{"name", s.name},
                              {"op", s.op},
                              {"kernel", s.kernel},
                              {"type", s.type},
                              {"output", s.output.to_string()},
                              {"macs", s.macs}});
    }
    std::printf("%s\n", out.dump().c_str());
    return 0;
  }
  Table table({"from layer", "kernel", "type", "does", "result", "multiply-adds>"});
  for (const infer::Plan::StepInfo& s : plan.steps()) {
    macs += s.macs;
    table.row({s.name, s.kernel, s.type, s.op, s.output.to_string(), s.macs ? grouped(s.macs) : ""});
  }
  table.total({"total", str(plan.steps().size(), " steps"), "", "", "", grouped(macs)});
  table.print();
  std::printf("\nweights %.2f MB, activations %.2f MB in one block\n", static_cast<double>(plan.weight_bytes()) / 1e6,
              static_cast<double>(plan.activation_bytes()) / 1e6);
  return 0;
}

int run_summary(SummaryArguments o) {
  o.source.names_are_networks = true;
  if (is_compiled(o.source)) {
    check_compiled_options(o.source);
    return print_compiled(o, infer::load(o.source.path));
  }
  const Model model = open_model(o.source, o.common.seed);
  if (o.compiled) return print_compiled(o, infer::compile_network(model));
  const OpList list = model.capture(o.batch);
  struct Row {
    std::string scope, op, output, detail;
    std::int64_t parameters = 0, macs = 0, bytes = 0;
  };
  std::vector<Row> rows;
  std::vector<char> counted(list.values.size());
  std::int64_t parameters = 0, macs = 0, activations = 0, buffers = 0;
  for (const NamedTensor& named : model.network().named_tensors()) {
    (named.is_buffer ? buffers : parameters) += named.tensor.numel();
  }
  std::map<const void*, bool> is_buffer;
  for (const NamedTensor& named : model.network().buffers()) is_buffer[named.tensor.identity()] = true;
  for (const OpList::Node& node : list.nodes) {
    std::vector<TensorSpec> in, out;
    Row row{node.scope, std::string(node.op->type()), {}, node.op->attributes().to_string()};
    for (const int v : node.inputs) {
      in.push_back(v < 0 ? TensorSpec{{}, DType::f32, true} : list.values[static_cast<std::size_t>(v)].spec);
      if (v < 0 || std::exchange(counted[static_cast<std::size_t>(v)], 1)) continue;
      const OpList::Value& value = list.values[static_cast<std::size_t>(v)];
      if (value.kind == OpList::ValueKind::parameter && !is_buffer.contains(value.tensor.identity()))
        row.parameters += value.spec.shape.numel();
    }
    for (const int v : node.outputs) {
      out.push_back(list.values[static_cast<std::size_t>(v)].spec);
      row.output += str(row.output.empty() ? "" : ", ", out.back().shape);
      row.bytes += out.back().shape.numel() * static_cast<std::int64_t>(dtype_size(out.back().dtype));
    }
    row.macs = node.op->macs(in, out);
    macs += row.macs;
    activations += row.bytes;
    rows.push_back(std::move(row));
  }
  if (o.common.json) {
    nlohmann::ordered_json out{{"model", o.source.path},
                               {"architecture", model.architecture},
                               {"parameters", parameters},
                               {"buffers", buffers},
                               {"macs", macs},
                               {"activation_bytes", activations},
                               {"layers", nlohmann::ordered_json::array()}};
    for (const Row& r : rows) {
      out["layers"].push_back(
          {{"name", r.scope}, {"op", r.op}, {"output", r.output}, {"parameters", r.parameters}, {"macs", r.macs}});
    }
    std::printf("%s\n", out.dump().c_str());
    return 0;
  }
  Table table({"layer", "op", "result", "parameters>", "multiply-adds>"});
  for (const Row& r : rows)
    table.row({r.scope, r.op, r.output, r.parameters ? grouped(r.parameters) : "", r.macs ? grouped(r.macs) : ""});
  table.total({"total", "", "", grouped(parameters), grouped(macs)});
  table.print();
  std::printf("\ninput %lld×%d×%d×%d, weights %.2f MB, results of all layers %.2f MB in f32\n",
              static_cast<long long>(o.batch), model.preprocessing.height, model.preprocessing.width,
              model.preprocessing.channels, static_cast<double>(parameters + buffers) * 4 / 1e6,
              static_cast<double>(activations) / 1e6);
  if (!model.class_names.empty()) {
    std::string names;
    for (const std::string& n : model.class_names) names += str(names.empty() ? "" : ", ", n);
    std::printf("%zu classes: %s\n", model.class_names.size(), names.c_str());
  }
  return 0;
}

}  // namespace

void add_summary(CLI::App& app, Action& action) {
  auto o = std::make_shared<SummaryArguments>();
  CLI::App* command =
      app.add_subcommand("summary", "Print the layers of a network with shapes, parameters and multiply-adds");
  command->footer(
      "Examples:\n"
      "  fovea summary mobilenet_v2 --width 0.5 --size 160\n"
      "  fovea summary mobilenet_v2 --compiled\n"
      "  fovea summary runs/birds/model.fovea --json");
  command
      ->add_option("network", o->source.path,
                   "Name of a network, model file, run folder, compiled network, or weight file of another framework")
      ->required();
  add_model_options(*command, o->source);
  command->add_option("--batch", o->batch, "Pictures per batch")->check(CLI::Range(1, 1 << 20))->capture_default_str();
  command->add_flag("--compiled", o->compiled,
                    "The steps that compiled inference makes of them, their kernels and the planned memory");
  add_common(*command, o->common);
  command->callback([&action, o] { action = [o] { return run_summary(*o); }; });
}

}  // namespace fovea::tools
