/** What the browser runs: the verifier of SEV-SNP as it is, over questions that the test made of vectors. */

import { fromBase64 } from '../../../attestation/core/bytes.ts';
import { isRefusal } from '../../../attestation/core/refusal.ts';
import { verifySevSnpReport } from '../../../attestation/sev-snp/verify.ts';
import type { ReportQuestion } from '../../../attestation/sev-snp/verify.ts';

type Asked = ReportQuestion & { readonly expectedReportData: Uint8Array };

/** Bytes and lists of pairs have a form of their own in JSON; see snp.test.ts. */
function revive(_name: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if ('$bytes' in value) return fromBase64(String(value.$bytes), 'page');
  return '$map' in value ? new Map(value.$map as readonly (readonly [unknown, unknown])[]) : value;
}

/** The claims of an accepted report, or the codes of the refusals. */
async function judge(question: Asked): Promise<unknown> {
  try {
    const verdict = await verifySevSnpReport(question);
    return verdict.outcome === 'accepted' ? verdict.claims : verdict.refusals.map(({ code }) => code);
  } catch (error) {
    if (isRefusal(error)) return [error.refusal.code];
    return String(error);
  }
}

const data = await (await fetch('/data')).text();
const questions = JSON.parse(data, revive) as readonly Asked[];
const answers: unknown[] = [];
for (const question of questions) answers.push(await judge(question));
await fetch('/answer', { method: 'POST', body: JSON.stringify(answers) });
