/** Prints the plain closing line of a test run, `N passed, N failed`, from the report that vitest wrote. */

import { readFileSync } from 'node:fs';

interface TestReport {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly numFailedTestSuites: number;
}

const path = process.argv[2];
if (path === undefined) throw new Error('usage: count-results.ts REPORT');
const report = JSON.parse(readFileSync(path, 'utf8')) as TestReport;
// A file that fails to load has no failed test of its own; it must not be counted as nothing.
const failed = Math.max(report.numFailedTests, Math.min(report.numFailedTestSuites, 1));
const skipped = report.numPendingTests > 0 ? `, ${report.numPendingTests} skipped` : '';
process.stdout.write(`${report.numPassedTests} passed, ${failed} failed${skipped}\n`);
process.exitCode = failed > 0 || report.numPassedTests === 0 ? 1 : 0;
