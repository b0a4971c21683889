// lanes_sum - the sums over the lanes that share four rows, known to every lane afterwards.
//
// The same result every time: the order of additions is fixed. Needs `override LANES` and
// `override ROWS`. Call in uniform control flow.
//#include "common/lanes_{lanes}.wgsl"
