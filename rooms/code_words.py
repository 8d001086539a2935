"""The words of join codes: short, common, friendly, told apart by more than an accent.

Already folded (no accents): what is shown is what is typed.
"""

WORDS: tuple[str, ...] = tuple(
    """
    abeille abricot accord agneau aigle ailes album alpin ananas ancre animal anneau arbre arche argent
    armoire astre atelier aube avion avocat badge baguette balade balle bambou banane banc barque
    basilic bateau belette berger biche bijou biscuit bison bleuet blouson bocal bonbon bonnet bouquet
    bourgeon boussole brioche brise brosse brousse bulle bureau cabane cacao cactus cadeau cahier
    caillou calme camion canard canot caravane caribou carotte carte cascade castor cerise chaise chalet
    chameau chanson chapeau chaton chemin cheval chevreuil chocolat chorale cigale cigogne citron
    citrouille clarinette clavier clocher coccinelle colibri colline comptine comte copain coquille
    corail corbeille coton coucou coudre couleur crabe crayon cristal crocus cuisine cygne dauphin
    demain dessin diamant dindon domino dragon drapeau dune durable echelle ecole ecureuil edredon elan
    elastique encre enigme epice etoile fable falaise fanfare farine fauteuil fenetre ferme festin
    feuille ficelle figue flamant flocon flute fontaine foret fougere fourmi fraise framboise fromage
    fusee galet galaxie gant garage gazelle genou gentil girafe glace globe gomme gorille goutte grange
    gravier grelot grenier griotte guimauve guitare hamac hamster haricot harpe herbe herisson hibou
    hiver horizon huard igloo image insecte iris jardin jasmin jeudi jonquille jouet journal jumelle
    jungle jupiter kayak kiwi koala lagune laine lampe lanterne lapin lavande lecture legume lentille
    lettre lezard lievre lilas lion livre loutre lucarne lumiere lundi lune lutin macaron magie maison
    mandarine manege mangue marelle marin marmotte matin melodie melon menthe mercredi merle mesange
    miel mimosa minuit miroir mitaine montagne mouette moulin mouton muguet musique myrtille nacre
    nature navire neige nid noisette nuage oasis ocean olive ombre orage orange orchestre oreiller
    origan ourson outarde palmier panda panier papier papillon parasol parfum patin peluche perle
    perroquet phare piano pingouin pirate pivoine plage planete plume poireau poisson poivron pomme
    poney potiron poulain prairie prune puzzle quai quille radis raisin raton recette renard requin
    riviere risotto robot rocher rosier ruban ruche ruisseau sable safran salade samedi sapin sardine
    saumon savon serin sifflet singe sirop soleil sommet souris sucre tambour tapis tasse tempete tigre
    tilleul tomate tortue toucan toupie tournesol traineau train trapeze tresor trompette tulipe tunnel
    vacances vague valise vanille vendredi verger vigne village violette violon virgule voilier volcan
    voyage wagon zebre zephyr
    """.split()  # noqa: SIM905 -- 356 quoted words are not easier to read
)
