import type { Command } from 'commander';

import type { RowResult } from '../../../attestation/conformance/battery.ts';
import { checkFolder, type ClassReport, type ConformanceReport } from '../conformance/check-folder.ts';
import { conformanceRefusals } from '../conformance/refusals.ts';
import { print } from '../options.ts';

interface ConformanceOptions {
  readonly fixture?: string;
  readonly json?: true;
}

const MARKS = { passed: 'pass', failed: 'FAIL', 'not-applicable': 'none' } as const;

function rowLines({
  rule,
  title,
  outcome,
  expected,
  found,
  cases,
  deviations,
}: RowResult): readonly string[] {
  const count = `${cases} ${cases === 1 ? 'case' : 'cases'}`;
  const head = `${MARKS[outcome]}  ${rule.padEnd(5)}  ${title} (${count})`;
  const shown = [`             expected  ${expected}`, `             found     ${found}`];
  const others = deviations
    .slice(1)
    .map((other) => `                       ${other.subject}: ${other.found}`);
  return outcome === 'failed' ? [head, ...shown, ...others] : [head, ...shown.slice(1)];
}

function classLines({ class: name, conforms, rows }: ClassReport): readonly string[] {
  const failed = rows.filter(({ outcome }) => outcome === 'failed').length;
  const verdict = `${conforms ? 'conforms' : 'does not conform'} (${failed} of ${rows.length} rows failed)`;
  return ['', `class    ${name}`, ...rows.flatMap(rowLines), `verdict: ${name} ${verdict}`];
}

function reportLines({ tool, battery, folder, fixture, classes }: ConformanceReport): readonly string[] {
  return [
    `folder   ${folder.sha256}  ${folder.files.length} files`,
    ...folder.files.map(({ path, sha256 }) => `         ${sha256}  ${path}`),
    `fixture  ${fixture.sha256}  ${fixture.path}`,
    `by       ${tool.name} ${tool.version}, battery ${battery.version}, Node.js ${tool.node}`,
    ...classes.flatMap(classLines),
  ];
}

async function conformance(folder: string, { fixture, json }: ConformanceOptions): Promise<void> {
  const report = await checkFolder(folder, fixture);
  if (json === true) print(JSON.stringify(report));
  else for (const line of reportLines(report)) print(line);
  for (const { class: name, rows } of report.classes) {
    const failed = rows.find(({ outcome }) => outcome === 'failed');
    if (failed === undefined) continue;
    const { rule, expected, found } = failed;
    throw conformanceRefusals.error('conformance-failed', { field: `${name} ${rule}`, expected, found });
  }
}

/** `weightgate conformance`: whether a device class keeps the contract, as a report to attach. */
export function registerConformance(program: Command): void {
  program
    .command('conformance <folder>')
    .description('try the contract of device classes on a folder; runs the code in it')
    .option('--fixture <file>', 'fixture module; test/attestation/contract/CLASS-fixture.ts otherwise')
    .option('--json', 'one JSON document in place of lines')
    .action(conformance);
}
