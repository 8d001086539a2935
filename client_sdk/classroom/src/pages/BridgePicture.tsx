/** Two shores, a school on one and a museum on the other, and who walks across. Only to be looked at. */
export function BridgePicture() {
  const walkers = [
    { x: 150, y: 83, colour: '#ffb547' },
    { x: 190, y: 66, colour: '#e8654a' },
    { x: 232, y: 58, colour: '#1d6b45' },
    { x: 276, y: 61, colour: '#ffb547' },
    { x: 316, y: 75, colour: '#7fb8c4' },
  ]
  return (
    <svg class="bridge-picture" viewBox="0 0 460 170" aria-hidden="true" focusable="false">
      <circle cx="236" cy="40" r="30" fill="#ffd89a" />
      <path d="M0 150c60-10 90 6 150 0s100-8 160 0 110 4 150-2v22H0z" fill="#cfe3e6" />
      <path d="M0 112h104c10 0 12 40 26 48H0zM460 112H358c-10 0-12 40-26 48h128z" fill="#123c4a" />
      {/* the school */}
      <path d="M14 112V72l34-22 34 22v40z" fill="#e8654a" />
      <path d="M10 74 48 48l38 26-4 6-34-23-34 23z" fill="#0b2a35" />
      <path d="M42 112V92h13v20zM24 84h11v11H24zm38 0h11v11H62z" fill="#fbf7f0" />
      {/* the museum */}
      <path d="M372 112V76h76v36z" fill="#ffb547" />
      <path d="m366 76 44-26 44 26z" fill="#7a4a00" />
      <path d="M380 82h8v24h-8zm17 0h8v24h-8zm17 0h8v24h-8zm17 0h8v24h-8z" fill="#fbf7f0" />
      <path d="M368 106h84v6h-84z" fill="#7a4a00" />
      {/* the bridge */}
      <path d="M96 114C150 60 310 60 364 114" fill="none" stroke="#123c4a" stroke-width="9" stroke-linecap="round" />
      <path d="M126 158c4-52 52-70 104-70s100 18 104 70" fill="none" stroke="#123c4a" stroke-width="5" opacity=".35" />
      {walkers.map(({ x, y, colour }) => (
        <g key={x} fill={colour} stroke="#fbf7f0" stroke-width="2">
          <path d={`M${x - 7} ${y + 9}v-8a7 7 0 0 1 14 0v8z`} />
          <circle cx={x} cy={y - 11} r="6" />
        </g>
      ))}
    </svg>
  )
}
