/**
 * The observations of the manifest: what a policy may refuse on. Each is asked of the verifier, by a policy that is
 * tightened in this one place, or read from the parsed report where no policy member is about it.
 */

import { equalBytes } from '../../attestation/core/bytes.ts';
import { readReport } from '../../attestation/sev-snp/layout.ts';
import { ask, minimumOf, posixSeconds, processorsOf } from './vector-snp-question.ts';
import type { Document, Question } from './vector-snp-question.ts';

/** What the policy says besides, and the code of the refusal that shows the observation. */
interface Tightening {
  readonly refusal: string;
  readonly policy?: (report: Uint8Array) => Document;
  readonly time?: number;
}

function minimumSnp(milan: number, genoa: number, turin: number): Tightening {
  const levelOf = (processor: string): number => {
    if (processor.startsWith('1a') || processor === 'Turin') return turin;
    return processor.startsWith('19-0') || processor === 'Milan' ? milan : genoa;
  };
  const policy = (report: Uint8Array): Document => ({
    minimumTcb: {
      sets: [],
      processors: processorsOf(report).map((name) => minimumOf(name, { snp: levelOf(name) })),
    },
  });
  return { refusal: 'snp-reported-tcb-minimum', policy };
}

const zeros = (bytes: number): string => '00'.repeat(bytes);

const TIGHTENINGS: Readonly<Record<string, Tightening>> = {
  DEBUG_ALLOWED: { refusal: 'snp-debug' },
  REPORT_DATA_ALL_ZERO: { refusal: 'snp-report-data-zero' },
  VMPL_NONZERO: { refusal: 'snp-vmpl', policy: () => ({ vmpls: [0] }) },
  VLEK_SIGNED: { refusal: 'snp-signing-key-denied', policy: () => ({ signingKeys: ['vcek'] }) },
  V2_NO_CPUID: { refusal: 'snp-report-version-denied', policy: () => ({ reportVersions: [3, 4, 5] }) },
  ID_BLOCK_PRESENT: { refusal: 'snp-id-key', policy: () => ({ idKeyDigests: [zeros(48)] }) },
  AUTHOR_KEY_ENABLED: { refusal: 'snp-author-key', policy: () => ({ authorKeyDigests: [zeros(48)] }) },
  HOST_DATA_PRESENT: { refusal: 'snp-host-data', policy: () => ({ hostData: [zeros(32)] }) },
  NO_ALIAS_CHECK: {
    refusal: 'snp-platform-required',
    policy: () => platformRule({ required: ['aliasCheckComplete'] }),
  },
  PLATFORM_INFO_BIT6_SET: {
    refusal: 'snp-platform-unknown-bits',
    policy: () => platformRule({ toleratedUnknownBits: zeros(8) }),
  },
  'SNP_SPL_BELOW_AMD-SB-3019': minimumSnp(0x18, 0x17, 0),
  'SNP_SPL_BELOW_AMD-SB-3023': minimumSnp(0x1b, 0x1b, 4),
};

function platformRule(changes: Document): Document {
  return {
    platformInfo: { required: [], forbidden: [], toleratedUnknownBits: 'ffffffffffffff40', ...changes },
  };
}

/** TCBs of the report that differ; some of them a policy may accept, others say nothing by themselves. */
function tcbObservations(report: Uint8Array): readonly string[] {
  const { currentTcb, committedTcb, reportedTcb, launchTcb } = readReport(report);
  return [
    ...(equalBytes(committedTcb, currentTcb) ? [] : ['COMMITTED_TCB_NE_CURRENT']),
    ...(equalBytes(reportedTcb, currentTcb) ? [] : ['REPORTED_TCB_NE_CURRENT']),
    ...(equalBytes(reportedTcb, committedTcb) ? [] : ['REPORTED_TCB_NE_COMMITTED']),
    ...(equalBytes(launchTcb, currentTcb) ? [] : ['LAUNCH_TCB_NE_CURRENT']),
  ];
}

const EXPIRED = /^CERT_EXPIRED_AT_(\d{4}-\d{2}-\d{2})$/;

/** `stated` without the remarks in brackets behind the codes. */
export function observationCodes(stated: readonly string[]): readonly string[] {
  return stated.map((text) => text.replace(/ \(.*$/, '')).sort();
}

/**
 * What is found of the observations, sorted.
 *
 * @param stated those of the manifest, whose dates of expiry are asked for
 */
export async function observe(question: Question, stated: readonly string[]): Promise<readonly string[]> {
  const expiries = stated.flatMap((code) => {
    const date = EXPIRED.exec(code)?.[1];
    return date === undefined
      ? []
      : [[code, { refusal: 'path-validity', time: posixSeconds(date) }] as const];
  });
  const found = [...tcbObservations(question.report)];
  for (const [code, tightening] of [...Object.entries(TIGHTENINGS), ...expiries]) {
    if (await isObserved(question, tightening)) found.push(code);
  }
  return found.sort();
}

async function isObserved(question: Question, { refusal, policy, time }: Tightening): Promise<boolean> {
  const { codes } = await ask({
    ...question,
    time: time ?? question.time,
    policy: { ...question.policy, ...policy?.(question.report) },
  });
  return codes.includes(refusal);
}
