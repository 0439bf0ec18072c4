// Ranks that mpirun starts. No type of MPI stands here, and nothing links it: the library is loaded when a process that
// mpirun started asks for it.
#pragma once

#include <memory>
#include <string>

#include "core/distributed/communicator.h"

namespace fovea {

/// How mpirun (or srun, by PMIx) started this process, from the environment alone: rank 0 of 1 where it did not.
struct Launch {
  int rank = 0, size = 1;
  int local_rank = 0, local_size = 1;  ///< among the ranks of this machine
};
FOVEA_API Launch mpi_launch();

/// What stands in the way of MPI here ("built without MPI (FOVEA_MPI=OFF)", "libmpi.so.40 cannot be loaded: …"), or
/// empty.
FOVEA_API std::string mpi_unavailable();

/// The ranks that mpirun started with this one. Initialises MPI unless the program has done so, and then finalises it
/// when the communicator goes, but not while an exception is on its way: the others would not come. Call it before
/// threads start: the binding to one core that mpirun makes by default is left. A process that mpirun did not start is
/// alone, rank 0 of 1, and touches no MPI. Buffers on the CPU. Error{usage} where mpirun started several ranks and
/// mpi_unavailable(): each would train alone. One per process, and once.
///
/// Sums begin at start_sum() where ranks are on several machines, otherwise at wait(); FOVEA_MPI_OVERLAP=1 or 0 in the
/// environment chooses.
FOVEA_API std::unique_ptr<Communicator> open_mpi_world();

/// A rank without others: every call returns at once.
FOVEA_API std::unique_ptr<Communicator> alone();

}  // namespace fovea
