#include "core/eigen.h"

#include "catch.h"

using namespace fovea;

TEST_CASE("Eigen sees and writes a tensor's own memory") {
  Tensor t = Tensor::from<float>({2, 1, 3}, {1, 2, 3, 4, 5, 6});
  const auto m = eigen_map<float>(t);
  REQUIRE(m.rows() == 2);
  REQUIRE(m.cols() == 3);
  CHECK(m(1, 0) == 4);
  const std::uint64_t version = t.version();
  eigen_map_mutable<float>(t).row(0).setConstant(7);
  CHECK(t.data<float>()[2] == 7);
  CHECK(t.version() > version);
  CHECK(eigen_map<float>(Tensor::scalar(3.f))(0, 0) == 3);
  CHECK(eigen_map<float>(Tensor::zeros({0, 4})).rows() == 0);
  CHECK(eigen_map<float>(Tensor::zeros({4, 0})).cols() == 0);
  CHECK_THROWS(eigen_map<double>(t));
}
