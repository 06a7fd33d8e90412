// A picture from the camera.

/** Show the camera in a dialog; a square PNG of what it saw, or null. Rejects where there is no camera. */
export async function takePicture(dialog) {
  if (!navigator.mediaDevices) throw new Error("this address is not a secure one.");
  const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  const video = dialog.querySelector("video");
  video.srcObject = stream;
  dialog.showModal();
  try {
    const taken = await new Promise((resolve) => {
      dialog.querySelector("#snap").onclick = () => resolve(true);
      dialog.querySelector("#no-camera").onclick = () => resolve(false);
      dialog.oncancel = () => resolve(false);
    });
    if (!taken || !video.videoWidth) return null;
    const canvas = Object.assign(document.createElement("canvas"), { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext("2d").drawImage(video, 0, 0);
    return await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  } finally {
    dialog.close();
    for (const track of stream.getTracks()) track.stop();
  }
}
