// workgroup_sum - the sum of one value per thread, known to every thread afterwards.
//
// The same result every time: the order of additions is fixed. Needs `override WG`, the
// threads per workgroup. Call in uniform control flow.
//#include "common/reduce_{reduce}.wgsl"
