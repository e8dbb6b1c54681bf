/** A mutant that some input finds is found: to look for the shortest such input takes most of the time. */

import fc from 'fast-check';

fc.configureGlobal({ endOnFailure: true, numRuns: 25 });
