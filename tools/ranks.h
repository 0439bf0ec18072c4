// A command that mpirun runs on several ranks. Internal to tools/.
#pragma once

#include <functional>
#include <string>

#include "core/distributed/communicator.h"
#include "models/model.h"
#include "tools/command.h"

namespace fovea::tools {

/// "rank 1 of 2: " among several ranks, otherwise empty.
std::string name_of(const Communicator& world);

/// As apply_common(); a rank that is not told otherwise takes its share of the processors.
void apply_common(const Common& common, const Communicator& world);

/// Runs something on each rank that may fail on one or on all, such as reading the options and the data. Where it does,
/// it ends on all; the first rank that failed has the word.
void together(Communicator& world, const std::function<void()>& work);

/// Rank 0's parameters and buffers for all.
void broadcast(Communicator& world, const Model& model);

/// Runs the command on the ranks that mpirun started, or on this process alone, and returns its exit code. What it
/// throws on one rank ends all, with a message that says which it was and why.
int run_on_ranks(const std::function<int(Communicator&)>& command);

}  // namespace fovea::tools
