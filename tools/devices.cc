// fovea devices: the CPU and the GPUs of this machine, and why there is no GPU where there is none.
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/error.h"
#include "kernels/devices.h"
#include "kernels/gpu_ranks.h"
#include "tools/command.h"
#include "tools/table.h"
#include "train/distributed/mpi.h"

namespace fovea::tools {
namespace {

std::string gigabytes(std::int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f GB", static_cast<double>(bytes) / 1e9);
  return text;
}

/// How to train on `gpus` GPUs, or why one cannot.
std::string several_gpus(std::size_t gpus) {
  for (const std::string& why : {mpi_unavailable(), nccl_unavailable()}) {
    if (!why.empty()) return "only one at a time: " + why;
  }
  return str("all at once: mpirun -n ", gpus, " fovea train … --device cuda");
}

/// The types of 16 bits that a network can be trained in there.
std::vector<std::string> halves(Device device) {
  std::vector<std::string> types;
  for (const DType t : {DType::bf16, DType::f16}) {
    if (why_no_half(device, t).empty()) types.emplace_back(to_string(t));
  }
  return types;
}

int run_devices(const Common& common) {
  apply_common(common);
  const std::vector<DeviceInfo> all = devices();
  const std::string reason = why_no_gpu();
  if (common.json) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const DeviceInfo& d : all) {
      list.push_back({{"device", d.device.to_string()},
                      {"name", d.name},
                      {"capability", d.capability},
                      {"half", halves(d.device)},
                      {"units", d.units},
                      {"memory", d.memory},
                      {"free", d.free}});
    }
    nlohmann::ordered_json result{{"devices", list}};
    if (!reason.empty()) result["no_gpu"] = reason;
    if (all.size() > 2) result["several_gpus"] = several_gpus(all.size() - 1);
    std::printf("%s\n", result.dump().c_str());
    return 0;
  }
  Table table({"device", "name", "capability", "16 bit", "units>", "memory>", "free>"});
  for (const DeviceInfo& d : all) {
    std::string types;
    for (const std::string& t : halves(d.device)) types += types.empty() ? t : " " + t;
    table.row({d.device.to_string(), d.name, d.capability, types, std::to_string(d.units), gigabytes(d.memory),
               gigabytes(d.free)});
  }
  table.print();
  if (!reason.empty()) std::printf("no GPU: %s\n", reason.c_str());
  if (all.size() > 2) std::printf("%s\n", several_gpus(all.size() - 1).c_str());
  return 0;
}

}  // namespace

CLI::Option* add_device_option(CLI::App& command, std::string& device) {
  return command.add_option("--device", device, "cpu, cuda (the first GPU) or cuda:N; `fovea devices` lists them")
      ->capture_default_str();
}

void add_devices(CLI::App& app, Action& action) {
  auto common = std::make_shared<Common>();
  CLI::App* command = app.add_subcommand("devices", "List the CPU and the GPUs that --device can name");
  add_common(*command, *common);
  command->callback([&action, common] { action = [common] { return run_devices(*common); }; });
}

}  // namespace fovea::tools
