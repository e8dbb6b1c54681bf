/** What evidence says of itself, for a person to read. Nothing here is verified, and nothing is judged. */

import { sha256 } from '@noble/hashes/sha2.js';

import { parseEvidence } from '../../attestation/core/evidence.ts';
import { decode } from '../../attestation/core/layout.ts';
import { isRefusal } from '../../attestation/core/refusal.ts';
import { readHclReport } from '../../attestation/sev-snp/azure/layout.ts';
import { readRuntimeClaims } from '../../attestation/sev-snp/azure/runtime-claims.ts';
import type { SevSnpCertificates, SevSnpEvidence } from '../../attestation/sev-snp/evidence.ts';
import { readKeyCertificate } from '../../attestation/sev-snp/key-certificate.ts';
import { readReport, SigningKey, type AttestationReport } from '../../attestation/sev-snp/layout.ts';
import { cpuidText, productLineOf, type ProductLine } from '../../attestation/sev-snp/product.ts';
import { readTcb, tcbEncodingOf } from '../../attestation/sev-snp/tcb.ts';
import { readEventLog } from '../../attestation/tpm/event-log/read.ts';
import { tpmHash } from '../../attestation/tpm/hash.ts';
import { Algorithm, attest } from '../../attestation/tpm/layout.ts';
import { DEVICE_CLASSES } from '../server/device-classes.ts';
import { certificateSummary } from './evidence-certificate.ts';
import { readInput } from './evidence-files.ts';
import { nvidiaFacts } from './evidence-nvidia-facts.ts';
import { bootPhases, phaseLines } from './event-log-phases.ts';
import { eventLogTree } from './event-log-tree.ts';
import {
  evidenceOf,
  readCertificates,
  readQuote,
  refuseSecondStandardInput,
  type EvidenceOptions,
} from './evidence-questions.ts';

/** @throws RefusalError of the families `malformed`, `usage` and `environment` */
export async function evidenceFacts(options: EvidenceOptions): Promise<object> {
  refuseSecondStandardInput(options);
  const { kind, path } = evidenceOf(options);
  if (kind === 'nvidiaGpu') return await nvidiaFacts(path, 'gpu', options);
  if (kind === 'nvswitch') return await nvidiaFacts(path, 'switch', options);
  const bytes = await readInput(path);
  if (kind === 'bundle') return bundleFacts(bytes);
  const certificates = await readCertificates(options);
  if (kind === 'sevSnp') return reportAndCertificates(bytes, certificates);
  const { hardwareReport, claims, padding, ...header } = readHclReport(bytes);
  return {
    hclReport: { ...header, paddingBytes: padding.length, claimsDigest: sha256(claims) },
    runtimeClaims: readRuntimeClaims(claims),
    ...reportAndCertificates(hardwareReport, certificates),
    ...(options.quote === undefined ? {} : { quote: await quoteFacts(options) }),
  };
}

function reportAndCertificates(bytes: Uint8Array, certificates: SevSnpCertificates): object {
  const report = readReport(bytes);
  const line = lineOf(report, certificates);
  return { report: reportFacts(report, line), certificates: certificateFacts(certificates) };
}

/** Undefined where nothing names a product that is known: TCB versions then stay bytes. */
function lineOf({ cpuid }: AttestationReport, { vcek, vlek }: SevSnpCertificates): ProductLine | undefined {
  try {
    if (cpuid !== undefined) return productLineOf(cpuid, 'report.cpuid');
    const certificate = vcek ?? vlek;
    return certificate && readKeyCertificate(certificate, 'certificate').line;
  } catch (error) {
    if (isRefusal(error)) return undefined;
    throw error;
  }
}

const KEY_NAMES = new Map<number, string>(Object.entries(SigningKey).map(([name, value]) => [value, name]));

function reportFacts(report: AttestationReport, line: ProductLine | undefined): object {
  const { currentTcb, reportedTcb, committedTcb, launchTcb, keyInfo, cpuid, signature, ...members } = report;
  const levels = (bytes: Uint8Array): unknown =>
    line === undefined ? bytes : readTcb(tcbEncodingOf(line), bytes, 'report.tcb');
  const { currentVersion, committedVersion, ...others } = members;
  const versionText = ({ major, minor, build }: typeof currentVersion): string =>
    `${major}.${minor}.${build}`;
  return {
    ...others,
    productLine: line,
    cpuid: cpuid && cpuidText(cpuid),
    keyInfo: { ...keyInfo, signingKey: KEY_NAMES.get(keyInfo.signingKey) ?? keyInfo.signingKey },
    tcb: {
      reported: levels(reportedTcb),
      committed: levels(committedTcb),
      launch: levels(launchTcb),
      current: levels(currentTcb),
    },
    firmware: { committed: versionText(committedVersion), current: versionText(currentVersion) },
    signature,
  };
}

function certificateFacts(certificates: SevSnpCertificates): object {
  const given = Object.entries(certificates as unknown as Record<string, Uint8Array | undefined>);
  return Object.fromEntries(
    given.flatMap(([name, der]) => (der === undefined ? [] : [[name, oneCertificate(name, der)]])),
  );
}

function oneCertificate(name: string, der: Uint8Array): object {
  const isKey = name === 'vcek' || name === 'vlek';
  if (!isKey) return certificateSummary(der, name);
  const { certificate: _, ...key } = readKeyCertificate(der, name);
  return { ...certificateSummary(der, name), ...key };
}

async function quoteFacts(options: EvidenceOptions): Promise<object> {
  const { attest: statement, bank, pcrs } = await readQuote(options);
  return { ...decode(attest, statement, 'attest'), pcrs: { [bank]: pcrs } };
}

function bundleFacts(bytes: Uint8Array): object {
  const devices = parseEvidence(bytes, DEVICE_CLASSES);
  return {
    devices: devices.map(({ deviceClass, evidence, identity }) => ({
      class: deviceClass.name,
      identity,
      evidence: deviceFacts(evidence),
    })),
  };
}

/** Reports and quotes are read; evidence of a class without them is shown as it was parsed. */
function deviceFacts(evidence: object): object {
  if (isSevSnp(evidence)) return reportAndCertificates(evidence.reportBytes, evidence.certificates);
  if (!('attest' in evidence) || !(evidence.attest instanceof Uint8Array)) return evidence;
  const quote = { ...evidence, attest: decode(attest, evidence.attest, 'attest') };
  if (!('eventLog' in evidence) || !(evidence.eventLog instanceof Uint8Array)) return quote;
  return { ...quote, eventLog: bootFacts(evidence.eventLog) };
}

const SHOWN_BANK = tpmHash(Algorithm.sha256, 'bank');

/** What the log tells of the boot, as a person reads it; a log that cannot be read says why. */
function bootFacts(bytes: Uint8Array): object {
  try {
    const log = readEventLog(bytes);
    const { registers: _, ...head } = eventLogTree(log, SHOWN_BANK);
    const phases = bootPhases(log, SHOWN_BANK).map((phase) => phaseLines([phase]));
    return { ...head, phases };
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return { unreadable: error.message };
  }
}

function isSevSnp(evidence: object): evidence is SevSnpEvidence {
  return 'reportBytes' in evidence && 'certificates' in evidence;
}
