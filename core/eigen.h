// Opt-in: Eigen maps over fovea's memory, for linear algebra that is no kernel. The only header that includes Eigen;
// programs that include it need libeigen3-dev.
#pragma once

#include <Eigen/Core>

#include "core/tensor.h"

namespace fovea {

template <class T>
using EigenMatrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// A matrix over the same memory: all leading extents as rows, the last one as columns ([N,H,W,C] → N·H·W × C). A
/// vector or scalar has one row.
template <class T>
Eigen::Map<const EigenMatrix<T>> eigen_map(const TypedView<const T>& view) {
  const Eigen::Index columns = view.shape().rank() == 0 ? 1 : view.shape().dim(-1);
  return {view.data(), columns == 0 ? 0 : view.size() / columns, columns};
}
template <class T>
Eigen::Map<EigenMatrix<T>> eigen_map(const TypedView<T>& view) {
  const Eigen::Index columns = view.shape().rank() == 0 ? 1 : view.shape().dim(-1);
  return {view.data(), columns == 0 ? 0 : view.size() / columns, columns};
}
/// Reads a tensor in CPU memory; Error{usage} for another element type.
template <class T>
Eigen::Map<const EigenMatrix<T>> eigen_map(const Tensor& tensor) {
  return eigen_map(TypedView<const T>(tensor.data<T>(), tensor.shape()));
}
/// Writes one: counts as an in-place write.
template <class T>
Eigen::Map<EigenMatrix<T>> eigen_map_mutable(Tensor& tensor) {
  return eigen_map(TypedView<T>(tensor.mutable_data<T>(), tensor.shape()));
}

}  // namespace fovea
