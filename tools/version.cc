// fovea version: what this build is and what it can use.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "core/threads/parallel.h"
#include "core/version.h"
#include "kernels/build_info.h"
#include "tools/command.h"

namespace fovea::tools {

void add_version(CLI::App& app, Action& action) {
  auto common = std::make_shared<Common>();
  CLI::App* command =
      app.add_subcommand("version", "Print the version, the SIMD target in use and the libraries built in");
  command->add_flag("--json", common->json, "Print as JSON");
  command->callback([&action, common] {
    action = [common] {
      const kernels::BuildInfo info = kernels::build_info();
      if (common->json) {
        std::printf(
            "%s\n",
            nlohmann::json{
                {"version", kVersion}, {"simd", info.simd_target}, {"onednn", info.onednn}, {"threads", num_threads()}}
                .dump()
                .c_str());
      } else {
        std::printf("fovea %s\nSIMD target: %s\noneDNN: %s\nthreads: %d\n", kVersion, info.simd_target.c_str(),
                    info.onednn.c_str(), num_threads());
      }
      return 0;
    };
  });
}

}  // namespace fovea::tools
