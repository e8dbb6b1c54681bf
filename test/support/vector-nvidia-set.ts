/** Vectors of several devices of one machine. */

import { toHex } from '../../attestation/core/bytes.ts';
import { appraiseComposition } from '../../attestation/core/composite/appraise.ts';
import type { DeviceSet } from '../../attestation/core/composite/device-set.ts';
import { judge } from '../../attestation/core/verdict.ts';
import type { Checklist } from '../../attestation/core/verdict.ts';
import { readCertificate } from '../../attestation/core/x509.ts';
import { reportClaims } from '../../attestation/nvidia-gpu/claims.ts';
import type { ReportClaims } from '../../attestation/nvidia-gpu/claims.ts';
import { nvidiaGpuDeviceClass, nvswitchDeviceClass } from '../../attestation/nvidia-gpu/device-class.ts';
import { readDeviceReport } from '../../attestation/nvidia-gpu/report.ts';
import { signedBytes } from '../../attestation/nvidia-gpu/spdm.ts';
import { appraiseTopology } from '../../attestation/nvidia-gpu/topology.ts';
import { fileOf } from './vector-nvidia-case.ts';
import type { CaseOf } from './vector-nvidia-case.ts';
import { authenticate, challengeOf, presentedDevices } from './vector-nvidia-devices.ts';
import type { PresentedEvidence } from './vector-nvidia-devices.ts';
import { evidenceChecks } from './vector-nvidia-evidence.ts';
import { membersLine, refusalsOf } from './vector-nvidia-judgement.ts';
import type { CheckTable, KindJudge, Members } from './vector-nvidia-judgement.ts';
import {
  chainMembers,
  familyOf,
  firmwareDigest,
  gpuMembers,
  measurementsDigest,
  switchMembers,
  usedPdis,
} from './vector-nvidia-members.ts';

const checks: CheckTable = {
  each_device: Object.values(evidenceChecks).flat(),
  same_nonce: ['gpu-nonce'],
  distinct: ['gpu-set-repeated', 'composite-device-repeated'],
  homogeneous: ['gpu-set-versions', 'gpu-set-mode'],
  counts: ['composite-device-missing', 'composite-device-extra', 'gpu-set-switches'],
  topology: ['gpu-set-topology'],
};

/** The sets of vectors have no CPU that would sign for the others: what is asked of it is asked elsewhere. */
const WITHOUT_CPU = 'composite-binding-missing';

export const deviceSetJudge: KindJudge<CaseOf<'device-set'>> = {
  checks,
  together: ['distinct', 'homogeneous', 'counts', 'topology'],
  async refusals(subject) {
    const codes = await refusalsOf(() =>
      judge(async (checklist) => {
        const claims: ReportClaims[] = [];
        for (const device of presentedDevices(fileOf(subject, 'evidence'), 'evidence'))
          claims.push(reportClaims(await authenticate(device, challengeOf(subject), checklist)));
        appraiseMachine(claims, subject, checklist);
        return {};
      }),
    );
    return codes.filter((code) => code !== WITHOUT_CPU);
  },
  async *facts(subject) {
    const { id, parsed, expect } = subject.vector;
    const stated = parsed['devices'] as readonly Members[];
    const devices = presentedDevices(fileOf(subject, 'evidence'), 'evidence');
    for (const [i, members] of stated.entries()) {
      const failing = expect.per_device_failing?.[i] ?? [];
      const isSigned = await isAuthentic(devices[i], subject);
      const read = (): Members => statedMembers(devices[i], isSigned, members);
      yield await membersLine(`${id}[${i}]#parsed`, members, read, { failing, table: evidenceChecks });
    }
    yield await membersLine(`${id}#devices`, { count: stated.length }, () => ({ count: devices.length }), {
      failing: [],
      table: checks,
    });
  },
};

function appraiseMachine(
  claims: readonly ReportClaims[],
  { context }: CaseOf<'device-set'>,
  checklist: Checklist,
): void {
  const counts = context['expected_counts'] as CaseOf<'device-set'>['vector']['context']['expected_counts'];
  const classes = { 'nvidia-gpu': nvidiaGpuDeviceClass, nvswitch: nvswitchDeviceClass };
  const devices = claims.map((one) => ({ deviceClass: classes[one.class], identity: one.identity }));
  appraiseComposition(devices, [declaredSet(counts.gpus, counts.switches)], checklist);
  appraiseTopology(claims, checklist);
}

function declaredSet(gpus: number, switches: number): DeviceSet {
  const demand = (name: string, count: number): DeviceSet[number] => ({
    class: name,
    count,
    models: 'any',
    devices: 'any',
  });
  return [demand('nvidia-gpu', gpus), demand('nvswitch', switches)].filter(({ count }) => count > 0);
}

async function isAuthentic(
  device: PresentedEvidence | undefined,
  subject: CaseOf<'device-set'>,
): Promise<boolean> {
  if (device === undefined) return false;
  const codes = await refusalsOf(() =>
    judge((checklist) => authenticate(device, challengeOf(subject), checklist)),
  );
  return codes.length === 0;
}

/** The members that the manifest states of one device of a set: not all that it states of a report alone. */
function statedMembers(device: PresentedEvidence | undefined, isSigned: boolean, stated: Members): Members {
  if (device === undefined) return {};
  const all = { ...deviceMembers(device), signature: isSigned };
  return Object.fromEntries(Object.entries(all).filter(([name]) => name in stated));
}

function deviceMembers({ report: bytes, certificates, kind, architecture }: PresentedEvidence): Members {
  const report = readDeviceReport(bytes, kind);
  const chain = certificates.map((der, i) => readCertificate(der, `chain[${i}]`));
  const family = familyOf(chain[0]);
  const serial = chainMembers(chain)['brom_serial'];
  const common = {
    arch: family?.architecture ?? architecture,
    nonce: toHex(report.message.request.nonce),
    signature_offset: signedBytes(bytes).length,
    measurements_sha256: measurementsDigest(report.message.response.blocks),
    ...chainMembers(chain),
  };
  if (report.kind === 'switch') {
    const { pdi, gpuPdis } = report.fields;
    return {
      ...common,
      ...switchMembers(report.fields),
      fwid: 'not applicable (switch)',
      own_pdi: toHex(pdi).toUpperCase(),
      gpu_pdis: usedPdis(gpuPdis),
    };
  }
  const { fwid, switchPdis } = report.fields;
  const certified = chain[0] && firmwareDigest(chain[0]);
  return {
    ...common,
    ...gpuMembers(report.fields, family),
    fwid: fwid && certified && toHex(fwid) === toHex(certified) ? 'match' : 'mismatch',
    pdi: String(serial).slice(2),
    ...(switchPdis && { switch_pdis: usedPdis(switchPdis).toSorted() }),
  };
}
