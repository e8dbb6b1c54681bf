/** The kinds of work that are compared, each for a span of time. */

import { createPublicKey, verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';

import { CertificateMemory } from '../../attestation/core/certificate-memory.ts';
import { verifySevSnpReport } from '../../attestation/sev-snp/verify.ts';
import type { Subject } from './reports.ts';

/** `raw`: the signature alone, by node:crypto; `known`: whole reports, chain in memory; `new`: whole reports, without. */
export const WORKS = ['raw', 'known', 'new'] as const;
export type Work = (typeof WORKS)[number];

export interface WorkResult {
  readonly verifications: number;
  readonly seconds: number;
  /** Processor time of the whole process, all its threads. */
  readonly processorSeconds: number;
}

type Step = (i: number) => Promise<boolean> | boolean;

/** Goes through the subject again and again. @throws Error when something does not verify */
export async function doWork(work: Work, subject: Subject, seconds: number): Promise<WorkResult> {
  const step = makeStep(work, subject);
  for (let i = 0; i < subject.questions.length; i += 1) await demand(step, i);
  const usage = process.cpuUsage();
  const startedAt = performance.now();
  let verifications = 0;
  while (performance.now() - startedAt < 1000 * seconds) {
    await demand(step, verifications);
    verifications += 1;
  }
  const { user, system } = process.cpuUsage(usage);
  return {
    verifications,
    seconds: (performance.now() - startedAt) / 1000,
    processorSeconds: (user + system) / 1e6,
  };
}

async function demand(step: Step, i: number): Promise<void> {
  const holds = step(i);
  if (!(typeof holds === 'boolean' ? holds : await holds)) throw new Error(`report ${i} does not verify`);
}

function makeStep(work: Work, { questions, signatures }: Subject): Step {
  if (work === 'raw') {
    const prepared = signatures.map(({ publicKey, message, signature }) => {
      const key = createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'spki' });
      return { key, message, signature };
    });
    return (i) => verifyRaw(prepared[i % prepared.length]);
  }
  const memory = work === 'known' ? { memory: new CertificateMemory() } : {};
  const asked = questions.map((question) => ({ ...question, ...memory }));
  return async (i) => {
    const question = asked[i % asked.length];
    return question !== undefined && (await verifySevSnpReport(question)).outcome === 'accepted';
  };
}

interface Prepared {
  readonly key: KeyObject;
  readonly message: Uint8Array;
  readonly signature: Uint8Array;
}

function verifyRaw(prepared: Prepared | undefined): boolean {
  if (prepared === undefined) return false;
  const { key, message, signature } = prepared;
  return verify('sha384', message, { key, dsaEncoding: 'ieee-p1363' }, signature);
}
