/** W10: the vectors of SEV-SNP, and everything else that is asked about them, have the same verdicts in a browser. */

import { join } from 'node:path';

import { describe, expect, it, vi } from 'vitest';

import { toBase64 } from '../../../attestation/core/bytes.ts';
import { verifySevSnpReport } from '../../../attestation/sev-snp/verify.ts';
import type { ReportQuestion } from '../../../attestation/sev-snp/verify.ts';
import { vectorClasses } from '../../support/vector-classes.ts';
import { openVectorFolder } from '../../support/vector-folder.ts';
import { vectorFolder, vectorsMissing } from '../../support/vectors.ts';
import { findChromium, runInChromium } from './chromium.ts';

vi.mock('../../../attestation/sev-snp/verify.ts', { spy: true });

interface Asked {
  readonly question: ReportQuestion;
  readonly answer: unknown;
}

/** Every question that judging the vectors puts to the verifier, with the answer in Node. */
async function askedByVectors(): Promise<readonly Asked[]> {
  const ask = vi.mocked(verifySevSnpReport);
  const lines = vectorClasses.get('snp')?.judge(openVectorFolder(vectorFolder('snp')));
  if (lines === undefined) throw new Error('no class');
  for await (const { subject, agrees } of lines)
    expect({ subject, agrees }).toEqual({ subject, agrees: true });
  const { calls, settledResults } = ask.mock;
  return calls.map(([question], i) => ({ question, answer: answerOf(settledResults[i]) }));
}

function answerOf(settled: { readonly type: string; readonly value: unknown } | undefined): unknown {
  const verdict = settled?.value as Awaited<ReturnType<typeof verifySevSnpReport>>;
  expect(settled?.type).toBe('fulfilled');
  return verdict.outcome === 'refused' ? verdict.refusals.map(({ code }) => code) : verdict.claims;
}

/** Bytes and maps as the page reads them again. */
function flatten(_name: string, value: unknown): unknown {
  if (value instanceof Uint8Array) return { $bytes: toBase64(value) };
  return value instanceof Map ? { $map: [...(value as ReadonlyMap<unknown, unknown>)] } : value;
}

const chromium = findChromium();
const missing = chromium === undefined ? 'chromium is not installed' : vectorsMissing('snp');

describe.skipIf(missing !== undefined)(`the vectors of SEV-SNP in a browser ${missing ?? ''}`, () => {
  it('W10: have the verdicts that they have in Node', async () => {
    const asked = await askedByVectors();
    expect(asked.length).toBeGreaterThan(300);
    const data = JSON.stringify(
      asked.map(({ question }) => question),
      flatten,
    );
    const page = join(import.meta.dirname, 'snp-page.ts');
    const answers = JSON.parse(await runInChromium(chromium ?? '', page, data)) as readonly unknown[];
    expect(answers).toEqual(asked.map(({ answer }) => answer));
    expect(answers.filter((answer) => !Array.isArray(answer)).length).toBeGreaterThan(15);
  }, 120_000);
});
