import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { beforeAll, describe, expect, it } from 'vitest';

import packageDocument from '../../package.json' with { type: 'json' };
import type { RowResult } from '../../attestation/conformance/battery.ts';
import type { ConformanceReport } from '../../src/cli/conformance/check-folder.ts';
import { PROJECT, runCommand, type Outcome } from '../support/command-line.ts';
import { copyTemplate, removeFixture, type Edit } from '../support/partner-class.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const SLOW = 60_000;

/**
 * Checks many folders in one process, as the command checks one: the modules of a class must be loaded by Node.js itself.
 */
const CHECK_ALL = `
  const { checkFolder } = await import(process.argv[1]);
  for (const folder of process.argv.slice(2)) console.log(JSON.stringify(await checkFolder(folder)));
`;
const CHECK_FOLDER = join(PROJECT, 'src/cli/conformance/check-folder.ts');

function reportOf({ output }: Outcome): ConformanceReport {
  return JSON.parse(output) as ConformanceReport;
}

function rowsOf({ classes }: ConformanceReport): readonly RowResult[] {
  return classes.flatMap(({ rows }) => rows);
}

/** The rules whose rows failed, each once. */
function failedRules(report: ConformanceReport): readonly string[] {
  return [
    ...new Set(
      rowsOf(report)
        .filter(({ outcome }) => outcome === 'failed')
        .map(({ rule }) => rule),
    ),
  ];
}

describe('weightgate conformance', () => {
  it(
    'CL-21: a copy of the template under another name conforms without a change elsewhere',
    async () => {
      const folder = await copyTemplate(await temporaryFolder());
      const outcome = await runCommand('conformance', folder, '--json');
      expect(outcome).toMatchObject({ exitCode: 0, errors: '' });
      const report = reportOf(outcome);
      expect(failedRules(report)).toEqual([]);
      expect(report).toMatchObject({
        version: 1,
        conforms: true,
        classes: [{ class: 'partner', conforms: true }],
        tool: { name: 'weightgate', version: packageDocument.version, node: process.version },
      });
      const rules = Array.from({ length: 18 }, (_, i) => `DC-${i + 1}`).filter((rule) => rule !== 'DC-15');
      expect(rowsOf(report).map(({ rule }) => rule)).toEqual(expect.arrayContaining(rules));
      for (const { outcome: result, cases } of rowsOf(report)) {
        expect(result).toBe('passed');
        expect(cases).toBeGreaterThan(0);
      }
      for (const { path, sha256 } of report.folder.files) {
        const bytes = await readFile(join(folder, path));
        expect(sha256).toBe(createHash('sha256').update(bytes).digest('hex'));
      }
      const code = report.folder.files.filter(({ path }) => path.endsWith('.ts'));
      expect(code.map(({ path }) => path)).toEqual([
        ...['appraise.ts', 'authenticate.ts', 'claims.ts', 'device-class.ts', 'layout.ts'],
      ]);
    },
    SLOW,
  );

  it(
    'CL-21: prints a row for each rule, with what was found, and the verdict',
    async () => {
      const { exitCode, output } = await runCommand('conformance', join(PROJECT, 'attestation/example'));
      expect(exitCode).toBe(0);
      expect(output).toMatch(/^class {4}example$/m);
      expect(output).toMatch(
        /^pass {2}DC-8 {3}refuses every device value .*\n {13}found {5}example-binding$/m,
      );
      expect(output).toMatch(/^verdict: example conforms \(0 of \d+ rows failed\)\n$/m);
    },
    SLOW,
  );
});

interface Defect {
  /** Of the row that has to find it. */
  readonly rule: string;
  readonly mistake: string;
  readonly edits: readonly Edit[];
}

/** Each a mistake that a partner can make. */
const DEFECTS: readonly Defect[] = [
  {
    rule: 'DC-1',
    mistake: 'claims that name another device',
    edits: [{ file: 'claims.ts', from: 'toHex(partnerIdentity(evidence))', to: "'00'.repeat(32)" }],
  },
  {
    rule: 'DC-2',
    mistake: 'calls itself real hardware',
    edits: [{ file: 'claims.ts', from: 'simulated: anchor.simulated', to: 'simulated: false' }],
  },
  {
    rule: 'DC-3',
    mistake: 'accepts trailing bytes',
    edits: [
      { file: 'layout.ts', from: 'maxBytes: 96', to: 'maxBytes: 200' },
      {
        file: 'layout.ts',
        from: 'decode(statement, bytes, path)',
        to: 'decode(statement, bytes.slice(0, 96), path)',
      },
      { file: 'layout.ts', from: 'signed: statement,', to: 'signed: statement.slice(0, 96),' },
    ],
  },
  {
    rule: 'DC-4',
    mistake: 'does not look at reserved bytes',
    edits: [
      {
        file: 'layout.ts',
        from: 'decode(statement, bytes, path)',
        to: 'decode(statement, bytes.map((byte, i) => (i < 80 ? byte : 0)), path)',
      },
    ],
  },
  {
    rule: 'DC-5',
    mistake: 'does not verify the signature',
    edits: [
      {
        file: 'authenticate.ts',
        from: 'await verifySignature(key, scheme, signature, signed)',
        to: 'signature.length + signed.length > 0 && (await verifySignature(key, scheme, signature, signed), true)',
      },
    ],
  },
  {
    rule: 'DC-6',
    mistake: 'accepts a foreign root',
    edits: [
      {
        file: 'authenticate.ts',
        from: 'verifyCertificatePath(certificate, {',
        to: 'verifyCertificatePath(certificate, { ...{} }).catch(() => anchors[0]) && Promise.resolve({ ...anchors[0],',
      },
    ],
  },
  {
    rule: 'DC-7',
    mistake: 'ignores expiry',
    edits: [
      {
        file: 'authenticate.ts',
        from: 'anchors,\n        time,',
        to: 'anchors,\n        time: certificate.notBefore,',
      },
    ],
  },
  {
    rule: 'DC-8',
    mistake: 'ignores the nonce',
    edits: [
      {
        file: 'authenticate.ts',
        from: 'equalBytes(statement.deviceValue, expectedDeviceValue)',
        to: 'equalBytes(statement.deviceValue, statement.deviceValue)',
      },
    ],
  },
  {
    rule: 'DC-9',
    mistake: 'takes the evidence of before for empty evidence',
    edits: [
      {
        file: 'device-class.ts',
        from: 'parse: readPartnerEvidence,',
        to: `parse: (value, path) => {
        if (value !== null) return (globalThis.last = readPartnerEvidence(value, path));
        return globalThis.last ?? readPartnerEvidence(value, path);
      },`,
      },
    ],
  },
  {
    rule: 'DC-10',
    mistake: 'reads over unknown members of a policy',
    edits: [
      {
        file: 'appraise.ts',
        from: "policyShape(value, 'policy')",
        to: "policyShape((({ unknown: _, ...known }) => known)({ ...value }), 'policy')",
      },
    ],
  },
  {
    rule: 'DC-11',
    mistake: 'accepts everything where there are no reference values',
    edits: [
      {
        file: 'appraise.ts',
        from: 'reference !== undefined',
        to: '(reference !== undefined || referenceValues.length === 0)',
      },
    ],
  },
  {
    rule: 'DC-12',
    mistake: 'reads the clock by Date.now',
    edits: [{ file: 'device-class.ts', from: 'return judge(', to: 'Date.now();\n  return judge(' }],
  },
  {
    rule: 'DC-12',
    mistake: 'reads the clock by new Date and hides it',
    edits: [
      {
        file: 'device-class.ts',
        from: 'return judge(',
        to: 'try {\n    new Date();\n  } catch {}\n  return judge(',
      },
    ],
  },
  {
    rule: 'DC-12',
    mistake: 'draws by chance',
    edits: [
      {
        file: 'device-class.ts',
        from: 'return judge(',
        to: 'crypto.getRandomValues(new Uint8Array(1));\n  return judge(',
      },
    ],
  },
  {
    rule: 'DC-12',
    mistake: 'imports what reaches beyond the library',
    edits: [
      {
        file: 'layout.ts',
        from: "import { sha256 } from '@noble",
        to: "import 'node:fs';\nimport { sha256 } from '@noble",
      },
    ],
  },
  {
    rule: 'DC-12',
    mistake: 'writes into its inputs',
    edits: [
      {
        file: 'device-class.ts',
        from: 'return judge(',
        to: "inputs.collateral.set('seen', new Uint8Array(inputs.collateral.size));\n  return judge(",
      },
    ],
  },
  {
    rule: 'DC-13',
    mistake: 'throws an exception of its own on outside input',
    edits: [
      {
        file: 'layout.ts',
        from: 'const { statement, signature, certificate, intermediates } =',
        to: "if (value.statement === '') throw new RangeError('empty');\n  const { statement, signature, certificate, intermediates } =",
      },
    ],
  },
  {
    rule: 'DC-14',
    mistake: 'refuses with codes that are declared nowhere',
    edits: [
      {
        file: 'device-class.ts',
        from: 'return judge(',
        to: `return undeclared(`,
      },
      {
        file: 'device-class.ts',
        from: 'function verifyPartnerEvidence(',
        to: `const undeclared = async (verification) => {
        const verdict = await judge(verification);
        if (verdict.outcome === 'accepted') return verdict;
        return { ...verdict, refusals: verdict.refusals.map((refusal) => ({ ...refusal, code: 'partner-new' })) };
      };
      function verifyPartnerEvidence(`,
      },
    ],
  },
  {
    rule: 'DC-14',
    mistake: 'uses a code that stands for something else',
    edits: [
      {
        file: 'appraise.ts',
        from: "  'partner-debug': {",
        to: "  'path-length': { means: 'x', hint: 'x', protects: 'x' },\n  'partner-debug': {",
      },
    ],
  },
  {
    rule: 'DC-16',
    mistake: 'remembers verdicts',
    edits: [
      {
        file: 'device-class.ts',
        from: 'verify: verifyPartnerEvidence,',
        to: `verify: async (evidence, inputs) => {
        if (inputs.memory === undefined) return await verifyPartnerEvidence(evidence, inputs);
        return (globalThis.verdict ??= await verifyPartnerEvidence(evidence, inputs));
      },`,
      },
    ],
  },
  {
    rule: 'DC-17',
    mistake: 'judges by the companions without having signed for them',
    edits: [
      {
        file: 'device-class.ts',
        from: 'return judge(',
        to: "if (inputs.companionsDigest[0] === 0) throw new RangeError('none');\n  return judge(",
      },
    ],
  },
  {
    rule: 'DC-18',
    mistake: 'says nothing of what its devices are worth',
    edits: [
      {
        file: 'device-class.ts',
        from: 'trustVectorOf: () => partnerTrustVector',
        to: 'trustVectorOf: () => ({})',
      },
    ],
  },
];

describe('weightgate conformance finds a class that', () => {
  let reports: readonly ConformanceReport[];

  beforeAll(async () => {
    const parent = await mkdtemp(join(tmpdir(), 'weightgate-test-'));
    try {
      const folders: string[] = [];
      for (const [i, { edits }] of DEFECTS.entries())
        folders.push(await copyTemplate(join(parent, String(i)), edits));
      const { stdout } = await promisify(execFile)(
        process.execPath,
        [
          '--disable-warning=ExperimentalWarning',
          '--input-type=module',
          '-e',
          CHECK_ALL,
          CHECK_FOLDER,
          ...folders,
        ],
        { maxBuffer: 64 * 1024 * 1024 },
      );
      reports = stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as ConformanceReport);
    } finally {
      await rm(parent, { recursive: true });
    }
  }, 4 * SLOW);

  it.each(DEFECTS.map(({ rule, mistake }, i) => ({ rule, mistake, i })))('$rule: $mistake', ({ rule, i }) => {
    const report = reports[i]!;
    expect(failedRules(report)).toContain(rule);
    expect(report.conforms).toBe(false);
    const row = rowsOf(report).find((candidate) => candidate.rule === rule && candidate.outcome === 'failed');
    expect(row?.deviations[0]?.found).toMatch(/./);
  });

  it('breaks little else by each of these mistakes', () => {
    const others = DEFECTS.map(({ rule }, i) => failedRules(reports[i]!).filter((failed) => failed !== rule));
    expect(others.filter((rules) => rules.length === 0).length).toBeGreaterThan(DEFECTS.length / 2);
  });
});

describe('weightgate conformance on a class that fails', () => {
  it(
    'CL-1, CL-21: names the first row that failed, with what was expected and found',
    async () => {
      const edits = DEFECTS.find(({ rule }) => rule === 'DC-8')!.edits;
      const folder = await copyTemplate(await temporaryFolder(), edits);
      const { exitCode, output, errors } = await runCommand('conformance', folder);
      expect(exitCode).toBe(1);
      expect(output).toMatch(
        /^FAIL {2}DC-8 {3}.*\n {13}expected {2}inauthentic\n {13}found {5}.*: accepted/m,
      );
      expect(output).toMatch(/^verdict: partner does not conform \(1 of \d+ rows failed\)\n$/m);
      expect(errors).toMatch(
        /^weightgate: partner DC-8: expected inauthentic, found .* \[conformance-failed\]$/m,
      );
    },
    SLOW,
  );
});

describe('weightgate conformance cannot run', () => {
  async function refusal(...args: readonly string[]): Promise<readonly [number, string]> {
    const { exitCode, output, errors } = await runCommand('conformance', ...args);
    expect(output).toBe('');
    return [exitCode, /\[([a-z-]+)\]/.exec(errors)?.[1] ?? errors];
  }

  it(
    'CL-1: without a class in the folder, or with one that cannot be loaded',
    async () => {
      expect(await refusal(await temporaryFolder())).toEqual([3, 'conformance-class']);
      expect(await refusal('/nowhere')).toEqual([3, 'conformance-class']);
      const folder = await copyTemplate(await temporaryFolder());
      await writeFile(join(folder, 'device-class.ts'), 'export const nothing = 1;\n');
      expect(await refusal(folder)).toEqual([3, 'conformance-class']);
      await writeFile(join(folder, 'device-class.ts'), 'throw new Error("no");\n');
      expect(await refusal(folder)).toEqual([3, 'conformance-class']);
    },
    SLOW,
  );

  it(
    'CL-1: without a fixture, or with that of another class',
    async () => {
      const folder = await copyTemplate(await temporaryFolder());
      const other = join(PROJECT, 'test/attestation/contract/example-fixture.ts');
      expect(await refusal(folder, '--fixture', other)).toEqual([3, 'conformance-fixture']);
      expect(await refusal(folder, '--fixture', join(folder, 'layout.ts'))).toEqual([
        3,
        'conformance-fixture',
      ]);
      await removeFixture(folder);
      expect(await refusal(folder)).toEqual([3, 'conformance-fixture']);
    },
    SLOW,
  );
});
