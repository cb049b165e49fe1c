import { runGatepath } from './gatepath.js';

/** Whether the vdisk is quarantined (rule 19). It is released. */
export async function isQuarantined(vdiskName: string, dataDir: string): Promise<boolean> {
  const { code, stdout, stderr } = await runGatepath('vdisk', 'release', vdiskName, '--data', dataDir);
  if (code === 0) return true;
  if (stderr.includes('is not quarantined')) return false;
  throw new Error(`vdisk release: status ${code}: ${stdout}${stderr}`);
}
